//! StreamPodSandboxMetrics: ListPodSandboxMetrics in pieces.

use crate::filter;
use crate::node::Cri;
use crate::spliced::Spliced;
use crate::status::Result;
use crate::streams::{Chunks, pieces};
use cri_api::v1::StreamPodSandboxMetricsRequest;

pub(crate) async fn serve(
    cri: &Cri,
    _request: StreamPodSandboxMetricsRequest,
) -> Result<Chunks<Spliced>> {
    let found = filter::pods_of_stats(cri.pods().list(), None);
    let all = cri.stats().metrics(found).await?;
    Ok(pieces(all, |items| Spliced { items }))
}
