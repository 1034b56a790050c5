//! ContainerStatus: one container.

use crate::describe;
use crate::node::{Cri, blocking};
use crate::status::Result;
use cri_api::v1::{ContainerStatusRequest, ContainerStatusResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: ContainerStatusRequest,
) -> Result<ContainerStatusResponse> {
    let container = cri.containers().get(&request.container_id)?;
    let cri = cri.clone();
    blocking("the status of a container", move || {
        let verbose = request.verbose;
        Ok(ContainerStatusResponse {
            info: if verbose { describe::container_info(&container) } else { Default::default() },
            status: Some(describe::container_status(&container, cri.images())),
        })
    })
    .await
}
