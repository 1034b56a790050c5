//! A small image and a well-behaved way to serve it.

use registry::spec::{Descriptor, Digest, MediaType};

use super::fake::{Reply, Request};

/// An image of one layer.
#[derive(Clone)]
pub(crate) struct Small {
    pub(crate) layer: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

impl Small {
    /// `size` bytes of layer that are not all alike.
    pub(crate) fn new(size: usize) -> Self {
        let layer: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        let diff = Digest::sha256(&layer);
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{"User":"1000"}},"rootfs":{{"type":"layers","diff_ids":["{diff}"]}}}}"#
        )
        .into_bytes();
        let describe = |media: &str, bytes: &[u8]| {
            format!(
                r#"{{"mediaType":"{media}","digest":"{}","size":{}}}"#,
                Digest::sha256(bytes),
                bytes.len()
            )
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
            MediaType::Manifest,
            describe("application/vnd.oci.image.config.v1+json", &config),
            describe("application/vnd.oci.image.layer.v1.tar", &layer)
        )
        .into_bytes();
        Self { layer, config, manifest }
    }

    pub(crate) fn layer_descriptor(&self) -> Descriptor {
        let media = MediaType::parse("application/vnd.oci.image.layer.v1.tar");
        Descriptor::new(media, Digest::sha256(&self.layer), self.layer.len() as u64)
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest)
    }

    /// What a good registry answers, for any repository.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        if path.contains("/manifests/") {
            return if name == "latest" || name == self.digest().as_str() {
                Reply::new(200)
                    .header("Content-Type", MediaType::Manifest)
                    .header("Docker-Content-Digest", self.digest())
                    .body(self.manifest.clone())
            } else {
                Reply::new(404).body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#)
            };
        }
        let blobs = [&self.layer, &self.config];
        match blobs.into_iter().find(|blob| Digest::sha256(blob).as_str() == name) {
            None => Reply::new(404).body(r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#),
            Some(blob) => match request.offset() {
                0 => Reply::new(200).body(blob.clone()),
                from => ranged(blob, from),
            },
        }
    }
}

/// The answer to a range request.
pub(crate) fn ranged(blob: &[u8], from: usize) -> Reply {
    let range = format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
    Reply::new(206).header("Content-Range", range).body(&blob[from..])
}
