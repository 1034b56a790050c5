//! Images on disk: OCI layout, OCI archive, docker archive.

use crate::image::{Image, Index};
use content_digest::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Writes an OCI layout directory with the images, each under the name beside it.
///
/// # Panics
/// When it cannot be written.
pub fn write_layout(dir: &Path, images: &[(&str, &Image)]) {
    for (path, bytes) in layout_files(images) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("layout");
        fs::write(path, bytes).expect("layout");
    }
}

/// Writes an OCI archive: the layout as a tar file.
///
/// # Panics
/// When it cannot be written.
pub fn write_oci_archive(file: &Path, images: &[(&str, &Image)]) {
    write_tar(file, &layout_files(images));
}

fn layout_files(images: &[(&str, &Image)]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let place = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let mut manifests = Vec::new();
    for (name, image) in images {
        for (digest, bytes) in &image.blobs {
            files.insert(place(digest), bytes.clone());
        }
        files.insert(place(&image.digest()), image.manifest.clone());
        let mut descriptor = image.descriptor();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        manifests.push(descriptor);
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    files.insert("index.json".to_owned(), index.to_string().into_bytes());
    files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files
}

/// Writes what `docker save` writes: `manifest.json`, configurations and plain layers.
///
/// # Panics
/// When it cannot be written, or a layer is compressed.
pub fn write_docker_archive(file: &Path, images: &[(&str, &Image)]) {
    let mut files = BTreeMap::new();
    let mut list = Vec::new();
    for (name, image) in images {
        let config = format!("{}.json", image.id().hex());
        files.insert(config.clone(), image.config.clone());
        let parsed: Value = serde_json::from_slice(&image.config).expect("configuration");
        let diff_ids = parsed["rootfs"]["diff_ids"].as_array().expect("diff IDs");
        let mut layers = Vec::new();
        for (digest, diff_id) in image.layers.iter().zip(diff_ids) {
            assert_eq!(
                diff_id.as_str(),
                Some(digest.as_str()),
                "a docker archive's layer is plain"
            );
            let path = format!("{}/layer.tar", digest.hex());
            files.insert(path.clone(), image.blobs[digest].clone());
            layers.push(path);
        }
        list.push(json!({"Config": config, "RepoTags": [name], "Layers": layers}));
    }
    files.insert("manifest.json".to_owned(), Value::from(list).to_string().into_bytes());
    write_tar(file, &files);
}

fn write_tar(file: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let mut tar = tar::Builder::new(fs::File::create(file).expect("archive"));
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes.as_slice()).expect("archive");
    }
    tar.into_inner().expect("archive");
}

impl Index {
    /// Writes an OCI layout directory whose one name means this index.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_layout(&self, dir: &Path, name: &str) {
        let images: Vec<_> = self.images.iter().map(|image| ("", image)).collect();
        write_layout(dir, &images);
        fs::write(dir.join("blobs/sha256").join(self.digest().hex()), &self.text).expect("index");
        let descriptor = json!({"mediaType": self.media_type, "digest": self.digest(),
            "size": self.text.len(), "annotations": {"org.opencontainers.image.ref.name": name}});
        let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
        fs::write(dir.join("index.json"), index.to_string()).expect("index");
    }
}
