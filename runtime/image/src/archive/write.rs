//! Archives written.

use super::Form;
use crate::transfer::Export;
use crate::{Error, ImageService, Kind, Result, names::Meant};
use content_digest::Digest;
use flate2::Compression;
use flate2::write::GzEncoder;
use registry::Reference;
use registry::spec::{Document, MAX_CONFIG, MAX_MANIFEST};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use store::Store;

/// One image to write.
struct Picked {
    names: Vec<String>,
    /// The reference's tag alone, as layouts without a registry have it.
    manifest: Digest,
    media_type: String,
    size: u64,
    id: Digest,
    layers: Vec<Digest>,
}

/// Where files go.
trait Sink {
    fn file(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()>;
}

/// A tar stream.
struct Tar<W: Write>(tar::Builder<W>);

impl<W: Write> Sink for Tar<W> {
    fn file(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(size);
        self.0.append_data(&mut header, path, content.take(size))
    }
}

/// A directory.
struct Dir(PathBuf);

impl Sink for Dir {
    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> io::Result<()> {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
        io::copy(content, &mut File::create(path)?).map(drop)
    }
}

pub(crate) fn export(service: &ImageService, export: &Export) -> Result<()> {
    let picked = pick(service, &export.images)?;
    let store = service.store();
    let fault = |e: io::Error| Error::io("write", &export.path, &e);
    if export.form == Form::OciLayout {
        if fs::read_dir(&export.path).is_ok_and(|mut list| list.next().is_some()) {
            let text = "is not empty: a layout is written to a directory of its own";
            return Err(Error::new(Kind::Invalid, export.path.display().to_string(), text));
        }
        fs::create_dir_all(&export.path).map_err(fault)?;
        return layout(store, &picked, &mut Dir(export.path.clone()));
    }
    if export.path == Path::new("-") {
        return tar_to(store, &picked, export, io::stdout().lock());
    }
    let fresh = export.path.with_extension(format!("part-{}", std::process::id()));
    let file = File::create(&fresh).map_err(fault)?;
    let written = tar_to(store, &picked, export, &file)
        .and_then(|()| file.sync_all().map_err(fault))
        .and_then(|()| fs::rename(&fresh, &export.path).map_err(fault));
    if written.is_err() {
        // Already failing.
        let _left = fs::remove_file(&fresh);
    }
    written
}

fn tar_to(store: &Store, picked: &[Picked], export: &Export, to: impl Write) -> Result<()> {
    let fault = |e: io::Error| Error::io("write", &export.path, &e);
    let to = io::BufWriter::with_capacity(256 * 1024, to);
    if export.gzip {
        let mut tar = Tar(tar::Builder::new(GzEncoder::new(to, Compression::fast())));
        write(store, picked, export.form, &mut tar)?;
        let ended = tar.0.into_inner().and_then(GzEncoder::finish);
        ended.and_then(|mut to| to.flush()).map_err(fault)
    } else {
        let mut tar = Tar(tar::Builder::new(to));
        write(store, picked, export.form, &mut tar)?;
        tar.0.into_inner().and_then(|mut to| to.flush()).map_err(fault)
    }
}

fn write(store: &Store, picked: &[Picked], form: Form, sink: &mut dyn Sink) -> Result<()> {
    match form {
        Form::DockerArchive => docker(store, picked, sink),
        Form::OciLayout | Form::OciArchive => layout(store, picked, sink),
    }
}

fn pick(service: &ImageService, images: &[String]) -> Result<Vec<Picked>> {
    let mut picked: Vec<Picked> = Vec::new();
    for text in images {
        let meant = service.catalog().meant(text)?;
        let id = meant.image().clone();
        let contents = service.store().contents(&id)?;
        let (name, manifest) = match meant {
            Meant::Name(name) => (Some(name.name), name.manifest),
            Meant::Image(_) => {
                let last = contents.manifests.last().map(|manifest| manifest.digest.clone());
                let missing = || Error::new(Kind::NotFound, text.as_str(), "has no manifest");
                (None, last.ok_or_else(missing)?)
            }
        };
        let bytes = service.store().read_blob(&manifest, MAX_MANIFEST)?;
        let Document::Manifest(document) = Document::parse(&bytes, None)? else {
            return Err(Error::new(Kind::Damaged, manifest.to_string(), "is no manifest"));
        };
        // An image by its ID is exported without a name.
        let names = name.filter(|name| !name.contains('@')).into_iter().collect();
        if let Some(known) = picked.iter_mut().find(|known| known.manifest == manifest) {
            known.names.extend(names);
            continue;
        }
        picked.push(Picked {
            names,
            size: bytes.len() as u64,
            manifest,
            media_type: document.media_type.as_str().to_owned(),
            id,
            layers: document.layers.iter().map(|layer| layer.digest.clone()).collect(),
        });
    }
    Ok(picked)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn text(sink: &mut dyn Sink, path: &str, bytes: &[u8]) -> Result<()> {
    let mut content = bytes;
    let wrote = sink.file(path, bytes.len() as u64, &mut content);
    wrote.map_err(|e| Error::io("write", Path::new(path), &e))
}

/// An OCI layout, whether as directory or as tar file.
fn layout(store: &Store, picked: &[Picked], sink: &mut dyn Sink) -> Result<()> {
    text(sink, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let mut written = BTreeSet::new();
    let mut manifests = Vec::new();
    for image in picked {
        for digest in image.layers.iter().chain([&image.id, &image.manifest]) {
            if written.insert(digest.clone()) {
                let mut blob = opened(store, digest)?;
                let wrote = sink.file(&blob_path(digest), blob.size, &mut blob.file);
                wrote.map_err(|e| Error::io("write", Path::new(digest.as_str()), &e))?;
            }
        }
        let descriptor = json!({
            "mediaType": image.media_type,
            "digest": image.manifest,
            "size": image.size,
        });
        if image.names.is_empty() {
            manifests.push(descriptor.clone());
        }
        for name in &image.names {
            let mut named = descriptor.clone();
            named["annotations"] = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": tag(name),
            });
            manifests.push(named);
        }
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    text(sink, "index.json", index.to_string().as_bytes())
}

fn tag(name: &str) -> String {
    let parsed = name.parse::<Reference>().ok();
    parsed.and_then(|r| r.tag().map(str::to_owned)).unwrap_or_else(|| name.to_owned())
}

fn opened(store: &Store, digest: &Digest) -> Result<store::Blob> {
    store.open_blob(digest).map_err(|e| match e {
        store::Error::NoBlob { digest } => Error::new(
            Kind::NotFound,
            digest.to_string(),
            "the compressed layer was not kept here; pull the image again, with layers kept",
        ),
        other => other.into(),
    })
}

/// What `docker load` reads: layers as plain tar files.
fn docker(store: &Store, picked: &[Picked], sink: &mut dyn Sink) -> Result<()> {
    let mut written = BTreeSet::new();
    let mut list = Vec::new();
    for image in picked {
        let config = store.read_blob(&image.id, MAX_CONFIG)?;
        let config_path = format!("{}.json", image.id.hex());
        if written.insert(config_path.clone()) {
            text(sink, &config_path, &config)?;
        }
        let mut layers = Vec::new();
        for digest in &image.layers {
            let path = format!("{}/layer.tar", digest.hex());
            if written.insert(path.clone()) {
                plain_layer(store, digest, &path, sink)?;
            }
            layers.push(path);
        }
        let names: Vec<_> = image.names.iter().map(|name| familiar(name)).collect();
        list.push(json!({"Config": config_path, "RepoTags": names, "Layers": layers}));
    }
    text(sink, "manifest.json", Value::from(list).to_string().as_bytes())
}

fn familiar(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

/// A tar header says the size first, so the layer is decompressed twice: once to measure it.
fn plain_layer(store: &Store, digest: &Digest, path: &str, sink: &mut dyn Sink) -> Result<()> {
    let fault = |e: io::Error| Error::io("decompress", Path::new(digest.as_str()), &e);
    let size = io::copy(&mut plain(opened(store, digest)?).map_err(fault)?, &mut io::sink());
    let mut content = plain(opened(store, digest)?).map_err(fault)?;
    sink.file(path, size.map_err(fault)?, &mut content).map_err(fault)
}

fn plain(blob: store::Blob) -> io::Result<Box<dyn Read>> {
    use std::io::Seek;
    let mut file = blob.file;
    let mut head = Vec::new();
    (&mut file).take(6).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(match layer::Compression::of_magic(&head) {
        layer::Compression::None => Box::new(file),
        layer::Compression::Gzip => {
            Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::new(file)))
        }
        layer::Compression::Zstd => Box::new(zstd::Decoder::new(file)?),
    })
}
