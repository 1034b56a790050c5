//! ContainerStats: what one container uses.

use crate::node::Cri;
use crate::status::{Refusal, Result};
use cri_api::v1::{ContainerStatsRequest, ContainerStatsResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: ContainerStatsRequest,
) -> Result<ContainerStatsResponse> {
    let container = cri.containers().get(&request.container_id)?;
    let mut all = cri.stats().containers(vec![container]).await.map_err(Refusal::from)?;
    Ok(ContainerStatsResponse { stats: all.pop() })
}
