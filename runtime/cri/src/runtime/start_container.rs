//! StartContainer: start the process of a container that was made.

use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{StartContainerRequest, StartContainerResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: StartContainerRequest,
) -> Result<StartContainerResponse> {
    cri.containers().start(&request.container_id).await?;
    Ok(StartContainerResponse {})
}
