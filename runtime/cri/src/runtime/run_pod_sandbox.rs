//! RunPodSandbox: make a pod and its network.

use crate::node::Cri;
use crate::status::{Refusal, Result};
use cri_api::v1::{RunPodSandboxRequest, RunPodSandboxResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: RunPodSandboxRequest,
) -> Result<RunPodSandboxResponse> {
    let Some(config) = request.config else {
        return Err(Refusal::invalid("config", "is missing"));
    };
    let pod_sandbox_id = cri.pods().run(config, &request.runtime_handler).await?;
    Ok(RunPodSandboxResponse { pod_sandbox_id })
}
