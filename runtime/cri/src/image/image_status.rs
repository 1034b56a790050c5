//! ImageStatus: one image; an empty answer if it is not here.

use crate::describe;
use crate::node::{Cri, blocking};
use crate::status::Result;
use cri_api::v1::{ImageStatusRequest, ImageStatusResponse};

pub(super) async fn serve(cri: &Cri, request: ImageStatusRequest) -> Result<ImageStatusResponse> {
    let name = describe::name_of(request.image)?;
    let cri = cri.clone();
    blocking("the status of an image", move || {
        let Some(image) = cri.images().get(&name)? else {
            return Ok(ImageStatusResponse::default());
        };
        let id = image.id.to_string();
        let info = if request.verbose {
            describe::image_info(&id, cri.images())?
        } else {
            Default::default()
        };
        let image = describe::image_item(image, &cri.settings().pinned);
        Ok(ImageStatusResponse { image: Some(image), info })
    })
    .await
}
