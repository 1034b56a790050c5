//! RunPodSandbox: make a pod and its network.

use crate::node::Cri;
use crate::status::{Refusal, Result};
use cri_api::v1::{PodSandboxConfig, RunPodSandboxRequest, RunPodSandboxResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: RunPodSandboxRequest,
) -> Result<RunPodSandboxResponse> {
    let Some(config) = request.config else {
        return Err(Refusal::invalid("config", "is missing"));
    };
    let pod_sandbox_id = run(cri, config, &request.runtime_handler).await?;
    Ok(RunPodSandboxResponse { pod_sandbox_id })
}

/// Makes the pod, and undoes it if a hook does not want it.
async fn run(cri: &Cri, config: PodSandboxConfig, handler: &str) -> Result<String> {
    let id = cri.pods().run(config, handler).await?;
    let pod = cri.pods().get(&id)?;
    let Err(refusal) = cri.containers().hooks().run_pod(&pod).await else {
        return Ok(id);
    };
    // What is left of it is listed as a pod that is not ready.
    let undone = cri.pods().remove(&id).await.err();
    Err(refusal.and(undone).into())
}
