//! StreamContainerStats: ListContainerStats in pieces.

use crate::filter;
use crate::node::Cri;
use crate::status::Result;
use crate::streams::{Chunks, pieces};
use cri_api::v1::{StreamContainerStatsRequest, StreamContainerStatsResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: StreamContainerStatsRequest,
) -> Result<Chunks<StreamContainerStatsResponse>> {
    let found = filter::containers_of_stats(cri.containers().list(), request.filter);
    let all = cri.stats().containers(found).await?;
    Ok(pieces(all, |container_stats| StreamContainerStatsResponse { container_stats }))
}
