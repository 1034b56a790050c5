//! Images: configuration, manifest and blobs; indexes of several.

use crate::layer::{Layer, Packed, Packing, pack};
use content_digest::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whose media types the documents have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Image specification.
    #[default]
    Oci,
    /// Docker, schema 2.
    Docker,
}

/// An image with all its blobs, in memory.
#[derive(Clone, Debug)]
pub struct Image {
    /// Configuration and layers by digest.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// The manifest's text.
    pub manifest: Vec<u8>,
    /// Its media type.
    pub media_type: &'static str,
    /// The configuration's text.
    pub config: Vec<u8>,
    /// The platform's architecture.
    pub architecture: String,
    /// Digests of the layers, compressed, lowest first.
    pub layers: Vec<Digest>,
}

impl Image {
    /// An image of Linux on this machine's architecture.
    pub fn new(layers: Vec<(Layer, Packing)>) -> Image {
        Image::with(layers, Style::Oci, &json!({}))
    }

    /// An image in a style, with `extra` put over its configuration: an object whose keys replace
    /// those that a sound image has.
    pub fn with(layers: Vec<(Layer, Packing)>, style: Style, extra: &Value) -> Image {
        let packed: Vec<Packed> =
            layers.into_iter().map(|(layer, packing)| pack(&layer.into_tar(), packing)).collect();
        Image::of_packed(&packed, style, extra)
    }

    pub(crate) fn of_packed(packed: &[Packed], style: Style, extra: &Value) -> Image {
        let diff_ids: Vec<_> = packed.iter().map(|layer| layer.diff_id.as_str()).collect();
        let mut config = json!({
            "created": "2023-11-14T22:13:20Z",
            "architecture": native(),
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "Labels": {"test": "yes"}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": "tests"}],
        });
        for (key, value) in extra.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let architecture = config["architecture"].as_str().unwrap_or_default().to_owned();
        let config = config.to_string().into_bytes();
        let mut image = Image {
            blobs: BTreeMap::new(),
            manifest: Vec::new(),
            media_type: manifest_type(style),
            config,
            architecture,
            layers: Vec::new(),
        };
        let descriptors: Vec<_> = packed.iter().map(|layer| image.add(layer, style)).collect();
        let config_type = match style {
            Style::Oci => "application/vnd.oci.image.config.v1+json",
            Style::Docker => "application/vnd.docker.container.image.v1+json",
        };
        let id = Digest::sha256(&image.config);
        image.blobs.insert(id.clone(), image.config.clone());
        let config = json!({"mediaType": config_type, "digest": id, "size": image.config.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": image.media_type,
            "config": config,
            "layers": descriptors,
        });
        image.manifest = manifest.to_string().into_bytes();
        image
    }

    fn add(&mut self, layer: &Packed, style: Style) -> Value {
        let digest = Digest::sha256(&layer.bytes);
        self.layers.push(digest.clone());
        let size = layer.bytes.len();
        self.blobs.entry(digest.clone()).or_insert_with(|| layer.bytes.clone());
        json!({"mediaType": layer_type(style, layer.packing), "digest": digest, "size": size})
    }

    /// The image's ID: the digest of its configuration.
    pub fn id(&self) -> Digest {
        Digest::sha256(&self.config)
    }

    /// The manifest's digest.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest)
    }

    /// The same image with its layers compressed in another way; its ID stays.
    ///
    /// # Panics
    /// When the layers are not what the manifest says.
    #[must_use]
    pub fn repacked(&self, packing: Packing) -> Image {
        let manifest: Value = serde_json::from_slice(&self.manifest).expect("manifest");
        let mut packed = Vec::new();
        for layer in manifest["layers"].as_array().expect("layers") {
            let digest: Digest = layer["digest"].as_str().expect("digest").parse().expect("digest");
            let media_type = layer["mediaType"].as_str().expect("media type");
            packed.push(pack(&unpack(&self.blobs[&digest], media_type), packing));
        }
        let config: Value = serde_json::from_slice(&self.config).expect("configuration");
        let again = Image::of_packed(&packed, Style::Oci, &config);
        assert_eq!(again.id(), self.id(), "the configuration's text is kept");
        again
    }

    /// Replaces the manifest by what `change` makes of it: for manifests that no tool writes.
    #[must_use]
    pub fn changed(mut self, change: impl FnOnce(&mut Value)) -> Image {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).expect("manifest");
        change(&mut manifest);
        self.manifest = manifest.to_string().into_bytes();
        self
    }

    /// The descriptor of the manifest.
    pub fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type,
            "digest": self.digest(),
            "size": self.manifest.len(),
            "platform": {"os": "linux", "architecture": self.architecture},
        })
    }
}

fn unpack(blob: &[u8], media_type: &str) -> Vec<u8> {
    let mut tar = Vec::new();
    if media_type.ends_with("gzip") {
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(blob), &mut tar)
            .expect("gzip");
    } else if media_type.ends_with("zstd") {
        tar = zstd::decode_all(blob).expect("zstd");
    } else {
        tar.extend_from_slice(blob);
    }
    tar
}

fn manifest_type(style: Style) -> &'static str {
    match style {
        Style::Oci => "application/vnd.oci.image.manifest.v1+json",
        Style::Docker => "application/vnd.docker.distribution.manifest.v2+json",
    }
}

fn layer_type(style: Style, packing: Packing) -> &'static str {
    match (style, packing) {
        (Style::Oci, Packing::Plain) => "application/vnd.oci.image.layer.v1.tar",
        (Style::Oci, Packing::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (_, Packing::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
        (Style::Docker, Packing::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
        (Style::Docker, Packing::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
    }
}

/// This machine's architecture, as images name it.
pub(crate) fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Images of several platforms under one name.
#[derive(Clone, Debug)]
pub struct Index {
    /// The images.
    pub images: Vec<Image>,
    /// The index's text.
    pub text: Vec<u8>,
    /// Its media type.
    pub media_type: &'static str,
}

impl Index {
    /// An index of images.
    pub fn new(images: Vec<Image>, style: Style) -> Index {
        let media_type = match style {
            Style::Oci => "application/vnd.oci.image.index.v1+json",
            Style::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        let manifests: Vec<_> = images.iter().map(Image::descriptor).collect();
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        Index { images, text: index.to_string().into_bytes(), media_type }
    }

    /// The index's digest.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.text)
    }
}
