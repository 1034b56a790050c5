//! ListPodSandboxMetrics: all metrics of all pods.

use crate::filter;
use crate::node::Cri;
use crate::spliced::Spliced;
use crate::status::Result;
use cri_api::v1::ListPodSandboxMetricsRequest;

pub(crate) async fn serve(cri: &Cri, _request: ListPodSandboxMetricsRequest) -> Result<Spliced> {
    let found = filter::pods_of_stats(cri.pods().list(), None);
    Ok(Spliced { items: cri.stats().metrics(found).await? })
}
