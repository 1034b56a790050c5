//! PodSandboxStats: what one pod uses.

use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{PodSandboxStatsRequest, PodSandboxStatsResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: PodSandboxStatsRequest,
) -> Result<PodSandboxStatsResponse> {
    let pod = cri.pods().get(&request.pod_sandbox_id)?;
    let mut all = cri.stats().pods(vec![pod]).await?;
    Ok(PodSandboxStatsResponse { stats: all.pop() })
}
