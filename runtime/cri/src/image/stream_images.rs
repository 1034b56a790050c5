//! StreamImages: ListImages in pieces.

use super::list_images::items;
use crate::node::Cri;
use crate::status::Result;
use crate::streams::{Chunks, pieces};
use cri_api::v1::{StreamImagesRequest, StreamImagesResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: StreamImagesRequest,
) -> Result<Chunks<StreamImagesResponse>> {
    let items = items(cri, request.filter).await?;
    Ok(pieces(items, |images| StreamImagesResponse { images }))
}
