//! ExecSync: run a command in a container and answer with what it said.

use crate::node::Cri;
use crate::status::{Refusal, Result};
use cri_api::v1::{ExecSyncRequest, ExecSyncResponse};
use std::time::Duration;

pub(super) async fn serve(cri: &Cri, request: ExecSyncRequest) -> Result<ExecSyncResponse> {
    if request.cmd.is_empty() {
        return Err(Refusal::invalid("cmd", "no program is named"));
    }
    // No time, or a negative one: no limit.
    let seconds = u64::try_from(request.timeout).ok().filter(|seconds| *seconds > 0);
    let limit = seconds.map(Duration::from_secs);
    let output = cri.containers().exec_sync(&request.container_id, request.cmd, limit).await?;
    if output.dropped > 0 {
        let (id, bytes) = (&request.container_id, output.dropped);
        tracing::warn!(container = %id, bytes, "output of a command was dropped: too long");
    }
    let (stdout, stderr, exit_code) = (output.stdout, output.stderr, output.exit_code);
    Ok(ExecSyncResponse { stdout, stderr, exit_code })
}
