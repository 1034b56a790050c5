//! ListContainers: containers by id, pod, state, labels.

use crate::node::{Cri, blocking};
use crate::status::Result;
use crate::{describe, filter};
use cri_api::v1::{Container, ContainerFilter, ListContainersRequest, ListContainersResponse};
use std::sync::Arc;

pub(super) async fn serve(
    cri: &Cri,
    request: ListContainersRequest,
) -> Result<ListContainersResponse> {
    Ok(ListContainersResponse { containers: items(cri, request.filter).await? })
}

/// The containers that a filter is about.
pub(super) async fn items(cri: &Cri, filter: Option<ContainerFilter>) -> Result<Vec<Container>> {
    let found = filter::containers(cri.containers().list(), filter);
    let images = cri.images();
    let known = |one: &Arc<container::Container>| {
        let image = images.remembered(one.image_id())?;
        Some(describe::container_item(one, image.as_deref()))
    };
    if let Some(items) = found.iter().map(known).collect() {
        return Ok(items);
    }
    let images = images.clone();
    blocking("listing containers", move || {
        let item = |one: &Arc<container::Container>| {
            // A store that fails leaves what was asked for, as an image does that was removed.
            let image = images.by_id(one.image_id()).ok().flatten();
            describe::container_item(one, image.as_deref())
        };
        Ok(found.iter().map(item).collect())
    })
    .await
}
