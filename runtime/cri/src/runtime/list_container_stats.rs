//! ListContainerStats: what containers use.

use crate::filter;
use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{ListContainerStatsRequest, ListContainerStatsResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: ListContainerStatsRequest,
) -> Result<ListContainerStatsResponse> {
    let found = filter::containers_of_stats(cri.containers().list(), request.filter);
    Ok(ListContainerStatsResponse { stats: cri.stats().containers(found).await? })
}
