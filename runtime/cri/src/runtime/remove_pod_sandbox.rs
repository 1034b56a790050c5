//! RemovePodSandbox: forget a pod and its containers; what runs is stopped.

use super::stop_pod_sandbox::end_containers;
use crate::node::Cri;
use crate::status::{Refusal, Result};
use cri_api::v1::{RemovePodSandboxRequest, RemovePodSandboxResponse};
use sandbox::Kind;
use tracing::Instrument;

pub(super) async fn serve(
    cri: &Cri,
    request: RemovePodSandboxRequest,
) -> Result<RemovePodSandboxResponse> {
    let pod = match cri.pods().get(&request.pod_sandbox_id) {
        Err(e) if e.kind() == Kind::NotFound => return Ok(RemovePodSandboxResponse {}),
        found => found?,
    };
    let all = cri.clone();
    let work = tokio::spawn(async move {
        end_containers(&all, &pod).await?;
        all.pods().stop(pod.id()).await?;
        all.containers().remove_all(pod.id()).await?;
        if let Err(e) = all.containers().hooks().remove_pod(&pod).await {
            tracing::warn!(pod = pod.id(), cause = %e, "a hook failed; the pod is removed all the same");
        }
        all.pods().remove(pod.id()).await
    }.in_current_span());
    work.await.map_err(|e| Refusal::task("removing a pod", &e))??;
    Ok(RemovePodSandboxResponse {})
}
