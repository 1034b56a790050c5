//! ListImages: all images, or the one that a filter names.

use crate::node::{Cri, blocking};
use crate::status::Result;
use crate::{describe, filter};
use cri_api::v1::{Image, ImageFilter, ListImagesRequest, ListImagesResponse};

pub(super) async fn serve(cri: &Cri, request: ListImagesRequest) -> Result<ListImagesResponse> {
    Ok(ListImagesResponse { images: items(cri, request.filter).await? })
}

/// The images that a filter is about.
pub(super) async fn items(cri: &Cri, filter: Option<ImageFilter>) -> Result<Vec<Image>> {
    let cri = cri.clone();
    blocking("listing images", move || {
        let found = filter::images(cri.images(), filter)?;
        let pinned = &cri.settings().pinned;
        Ok(found.into_iter().map(|image| describe::image_item(image, pinned)).collect())
    })
    .await
}
