//! StreamContainers: ListContainers in pieces.

use super::list_containers::items;
use crate::node::Cri;
use crate::status::Result;
use crate::streams::{Chunks, pieces};
use cri_api::v1::{StreamContainersRequest, StreamContainersResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: StreamContainersRequest,
) -> Result<Chunks<StreamContainersResponse>> {
    let items = items(cri, request.filter).await?;
    Ok(pieces(items, |containers| StreamContainersResponse { containers }))
}
