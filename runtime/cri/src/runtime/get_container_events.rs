//! GetContainerEvents: what happens to containers and pods from now on.

use crate::node::Cri;
use crate::status::Result;
use crate::streams::Chunks;
use cri_api::v1::{ContainerEventResponse, GetEventsRequest};

pub(super) async fn serve(
    cri: &Cri,
    _request: GetEventsRequest,
) -> Result<Chunks<ContainerEventResponse>> {
    Ok(cri.events().stream())
}
