//! UpdateContainerResources: new limits for a container, while it runs.

use crate::node::Cri;
use crate::status::Result;
use container::Update;
use cri_api::v1::{UpdateContainerResourcesRequest, UpdateContainerResourcesResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: UpdateContainerResourcesRequest,
) -> Result<UpdateContainerResourcesResponse> {
    let annotations = request.annotations.into_iter().collect();
    let update = Update { resources: request.linux, annotations };
    cri.containers().update(&request.container_id, update).await?;
    Ok(UpdateContainerResourcesResponse {})
}
