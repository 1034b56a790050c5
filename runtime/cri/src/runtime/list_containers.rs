//! ListContainers: containers by id, pod, state, labels.

use crate::node::{Cri, blocking};
use crate::status::Result;
use crate::{describe, filter};
use cri_api::v1::{Container, ContainerFilter, ListContainersRequest, ListContainersResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: ListContainersRequest,
) -> Result<ListContainersResponse> {
    Ok(ListContainersResponse { containers: items(cri, request.filter).await? })
}

/// The containers that a filter is about.
pub(super) async fn items(cri: &Cri, filter: Option<ContainerFilter>) -> Result<Vec<Container>> {
    let cri = cri.clone();
    blocking("listing containers", move || {
        let found = filter::containers(cri.containers().list(), filter);
        Ok(found.iter().map(|one| describe::container_item(one, cri.images())).collect())
    })
    .await
}
