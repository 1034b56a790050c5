//! CheckpointContainer: not done here.

use crate::node::Cri;
use crate::status::{Refusal, Result};
use cri_api::v1::{CheckpointContainerRequest, CheckpointContainerResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: CheckpointContainerRequest,
) -> Result<CheckpointContainerResponse> {
    let container = cri.containers().get(&request.container_id)?;
    let subject = format!("container {:?}", container.id());
    Err(Refusal::unimplemented(&subject, "podloom does not write checkpoints of containers"))
}
