//! StreamPodSandboxStats: ListPodSandboxStats in pieces.

use crate::filter;
use crate::node::Cri;
use crate::status::Result;
use crate::streams::{Chunks, pieces};
use cri_api::v1::{StreamPodSandboxStatsRequest, StreamPodSandboxStatsResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: StreamPodSandboxStatsRequest,
) -> Result<Chunks<StreamPodSandboxStatsResponse>> {
    let found = filter::pods_of_stats(cri.pods().list(), request.filter);
    let all = cri.stats().pods(found).await?;
    Ok(pieces(all, |pod_sandbox_stats| StreamPodSandboxStatsResponse { pod_sandbox_stats }))
}
