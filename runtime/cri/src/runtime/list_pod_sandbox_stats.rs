//! ListPodSandboxStats: what pods use.

use crate::filter;
use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{ListPodSandboxStatsRequest, ListPodSandboxStatsResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: ListPodSandboxStatsRequest,
) -> Result<ListPodSandboxStatsResponse> {
    let found = filter::pods_of_stats(cri.pods().list(), request.filter);
    Ok(ListPodSandboxStatsResponse { stats: cri.stats().pods(found).await? })
}
