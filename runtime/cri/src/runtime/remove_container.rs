//! RemoveContainer: forget a container, which is killed first if it runs.

use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{RemoveContainerRequest, RemoveContainerResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: RemoveContainerRequest,
) -> Result<RemoveContainerResponse> {
    cri.containers().remove(&request.container_id).await?;
    Ok(RemoveContainerResponse {})
}
