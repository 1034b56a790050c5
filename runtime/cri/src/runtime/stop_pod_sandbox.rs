//! StopPodSandbox: end a pod's containers at once, then its network and its shim.

use crate::node::Cri;
use crate::status::{Refusal, Result};
use cri_api::v1::{StopPodSandboxRequest, StopPodSandboxResponse};
use sandbox::{Kind, Sandbox};
use std::sync::Arc;
use tracing::Instrument;

pub(super) async fn serve(
    cri: &Cri,
    request: StopPodSandboxRequest,
) -> Result<StopPodSandboxResponse> {
    let pod = match cri.pods().get(&request.pod_sandbox_id) {
        // It was removed: what is asked for holds.
        Err(e) if e.kind() == Kind::NotFound => return Ok(StopPodSandboxResponse {}),
        found => found?,
    };
    let all = cri.clone();
    // All steps are done also if the caller goes away between them.
    let work = tokio::spawn(
        async move {
            end_containers(&all, &pod).await?;
            all.pods().stop(pod.id()).await
        }
        .in_current_span(),
    );
    work.await.map_err(|e| Refusal::task("stopping a pod", &e))??;
    Ok(StopPodSandboxResponse {})
}

/// Ends the containers of a pod, and tells that the pod is about to be stopped.
pub(super) async fn end_containers(cri: &Cri, pod: &Arc<Sandbox>) -> sandbox::Result<()> {
    cri.containers().stop_all(pod.id()).await?;
    if let Err(e) = cri.containers().hooks().stop_pod(pod).await {
        tracing::warn!(pod = pod.id(), cause = %e, "a hook failed; the pod is stopped all the same");
    }
    Ok(())
}
