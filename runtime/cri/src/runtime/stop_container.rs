//! StopContainer: ask a container to end, and kill it after its grace.

use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{StopContainerRequest, StopContainerResponse};
use sandbox::Kind;
use std::time::Duration;

pub(super) async fn serve(
    cri: &Cri,
    request: StopContainerRequest,
) -> Result<StopContainerResponse> {
    let grace = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
    match cri.containers().stop(&request.container_id, grace).await {
        // It was removed: it does not run.
        Err(e) if e.kind() == Kind::NotFound => {}
        outcome => outcome?,
    }
    Ok(StopContainerResponse {})
}
