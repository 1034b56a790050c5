//! ListPodSandboxMetrics: all metrics of all pods.

use crate::filter;
use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{ListPodSandboxMetricsRequest, ListPodSandboxMetricsResponse};

pub(super) async fn serve(
    cri: &Cri,
    _request: ListPodSandboxMetricsRequest,
) -> Result<ListPodSandboxMetricsResponse> {
    let found = filter::pods_of_stats(cri.pods().list(), None);
    Ok(ListPodSandboxMetricsResponse { pod_metrics: cri.stats().metrics(found).await? })
}
