//! RemoveImage: remove an image with all its names. What containers need of it stays for them.
//! Success if it is not here.

use crate::describe;
use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{RemoveImageRequest, RemoveImageResponse};

pub(super) async fn serve(cri: &Cri, request: RemoveImageRequest) -> Result<RemoveImageResponse> {
    let name = describe::name_of(request.image)?;
    // By its name only that name would go; the CRI removes the image.
    let Some(image) = cri.images().get(&name)? else {
        return Ok(RemoveImageResponse {});
    };
    match cri.images().remove(&image.id.to_string(), true).await {
        Err(e) if e.kind() == ::image::Kind::NotFound => {}
        outcome => drop(outcome?),
    }
    Ok(RemoveImageResponse {})
}
