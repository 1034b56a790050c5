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
    let pod = cri.pods().get(&request.pod_sandbox_id)?;
    let hooks = cri.containers().hooks();
    hooks.update_pod(&pod, &update).await?;
    cri.pods().update_resources(pod.id(), update).await?;
    if let Err(e) = hooks.updated_pod(&pod).await {
        tracing::warn!(pod = pod.id(), cause = %e, "a hook after the update failed");
    }
    Ok(UpdatePodSandboxResourcesResponse {})
}
