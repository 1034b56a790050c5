//! ImageFsInfo: what images and containers occupy on disk, from the books of the store.

use crate::describe;
use crate::node::{Cri, blocking};
use crate::status::Result;
use cri_api::v1::{
    FilesystemIdentifier, FilesystemUsage, ImageFsInfoRequest, ImageFsInfoResponse, UInt64Value,
};
use std::path::Path;

pub(super) async fn serve(cri: &Cri, _request: ImageFsInfoRequest) -> Result<ImageFsInfoResponse> {
    let cri = cri.clone();
    blocking("the space of images", move || {
        let images = cri.images().usage()?;
        let (bytes, inodes) = (
            images.blobs.bytes + images.layers.bytes + images.partial.bytes,
            images.blobs.inodes + images.layers.inodes + images.partial.inodes,
        );
        let of_images = usage(&cri.settings().image_dir, bytes, inodes);
        let (bytes, inodes) = cri.stats().writable_layers();
        let of_containers = usage(&cri.settings().container_dir, bytes, inodes);
        Ok(ImageFsInfoResponse {
            image_filesystems: vec![of_images],
            container_filesystems: vec![of_containers],
        })
    })
    .await
}

fn usage(dir: &Path, bytes: u64, inodes: u64) -> FilesystemUsage {
    FilesystemUsage {
        timestamp: describe::now(),
        fs_id: Some(FilesystemIdentifier { mountpoint: dir.display().to_string() }),
        used_bytes: Some(UInt64Value { value: bytes }),
        inodes_used: Some(UInt64Value { value: inodes }),
    }
}
