//! ReopenContainerLog: write the log to a new file, because the old one was renamed.

use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{ReopenContainerLogRequest, ReopenContainerLogResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: ReopenContainerLogRequest,
) -> Result<ReopenContainerLogResponse> {
    cri.containers().reopen_log(&request.container_id).await?;
    Ok(ReopenContainerLogResponse {})
}
