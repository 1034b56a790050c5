//! UpdatePodSandboxResources: what a pod may use now, told by kubelet, which sets the limits of the
//! pod's control group itself.

use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{UpdatePodSandboxResourcesRequest, UpdatePodSandboxResourcesResponse};
use sandbox::Update;

pub(super) async fn serve(
    cri: &Cri,
    request: UpdatePodSandboxResourcesRequest,
) -> Result<UpdatePodSandboxResourcesResponse> {
    let update = Update { overhead: request.overhead, resources: request.resources };
    cri.pods().update_resources(&request.pod_sandbox_id, update).await?;
    Ok(UpdatePodSandboxResourcesResponse {})
}
