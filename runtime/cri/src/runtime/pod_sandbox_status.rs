//! PodSandboxStatus: one pod with its containers, as of one moment.

use crate::describe;
use crate::node::{Cri, blocking};
use crate::status::Result;
use cri_api::v1::{PodSandboxStatusRequest, PodSandboxStatusResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: PodSandboxStatusRequest,
) -> Result<PodSandboxStatusResponse> {
    let pod = cri.pods().get(&request.pod_sandbox_id)?;
    let cri = cri.clone();
    blocking("the status of a pod", move || {
        let timestamp = describe::now();
        let containers = cri.containers().of_pod(pod.id());
        let statuses = containers.iter().map(|c| describe::container_status(c, cri.images()));
        Ok(PodSandboxStatusResponse {
            containers_statuses: statuses.collect(),
            info: if request.verbose { describe::pod_info(&pod) } else { Default::default() },
            status: Some(describe::pod_status(&pod)),
            timestamp,
        })
    })
    .await
}
