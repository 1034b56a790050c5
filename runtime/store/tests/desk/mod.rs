//! A store in a directory of its own, and images to put into it.

#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use store::{Commit, Contents, Digest, Image, Manifest, Name, Space, Store};

/// A directory that is removed on drop.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) dir: PathBuf,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

impl Desk {
    pub(crate) fn new() -> Desk {
        Desk::below(&std::env::temp_dir())
    }

    pub(crate) fn below(place: &Path) -> Desk {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = place.join(format!("podloom-store-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("desk");
        Desk { dir }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// A program that another test is just starting holds copies of all descriptors until it is
    /// executed, a closed store's lock among them.
    pub(crate) fn open(&self) -> Store {
        for _ in 0..200 {
            match Store::open(&self.root(), "test") {
                Err(store::Error::InUse { .. }) => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                opened => return opened.expect("store"),
            }
        }
        Store::open(&self.root(), "test").expect("store")
    }

    /// Asks again while there is nothing, for the same reason.
    pub(crate) fn patiently<T>(&self, ask: impl Fn() -> Option<T>) -> Option<T> {
        for _ in 0..200 {
            if let Some(found) = ask() {
                return Some(found);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        None
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs/sha256").join(digest.hex())
    }

    /// Files below `sub`.
    pub(crate) fn files(&self, sub: &str) -> usize {
        count(&self.root().join(sub))
    }

    /// Whether a database was set aside.
    pub(crate) fn damaged(&self) -> usize {
        let entries = std::fs::read_dir(self.root()).expect("root").flatten();
        entries.filter(|e| e.file_name().to_string_lossy().starts_with("damaged-")).count()
    }
}

fn count(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).expect("directory").flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

/// What makes an image of `layers` whose names are given; its layers are unpacked ones too.
pub(crate) fn commit(store: &Store, name: &str, layers: &[&[u8]]) -> Commit {
    let config = store.add_blob(format!("config of {name} {}", layers.len()).as_bytes());
    let config = config.expect("config");
    let mut blobs = vec![config.clone()];
    let mut keys = Vec::new();
    for layer in layers {
        let digest = store.add_blob(layer).expect("layer");
        keys.push(digest.to_string());
        store.add_layer(digest.as_str(), Space { bytes: 4096, inodes: 3 });
        blobs.push(digest);
    }
    let manifest = store.add_blob(format!("manifest of {name}").as_bytes()).expect("manifest");
    blobs.push(manifest.clone());
    let image = Image {
        id: config.clone(),
        names: Vec::new(),
        size: layers.iter().map(|layer| layer.len() as u64).sum(),
        created: Some("2026-11-24T00:00:00Z".to_owned()),
        added: 1,
        platform: "linux/amd64".to_owned(),
        user: "1000:1000".to_owned(),
        pinned: false,
    };
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    let known = Manifest { digest: manifest.clone(), media_type, blobs };
    let contents = Contents { manifests: vec![known], layers: keys, ..Contents::default() };
    let name = name_of(name, &config, &manifest, 1);
    Commit { image, contents, names: vec![name], also_sync: Vec::new(), synced: false }
}

pub(crate) fn name_of(name: &str, image: &Digest, manifest: &Digest, since: u64) -> Name {
    Name {
        name: name.to_owned(),
        image: image.clone(),
        target: manifest.clone(),
        manifest: manifest.clone(),
        since,
        implied: false,
    }
}

/// Puts an image into the store.
pub(crate) fn image(store: &Store, name: &str, layers: &[&[u8]]) -> Digest {
    let hold = store.hold();
    let commit = commit(store, name, layers);
    store.commit(&commit).expect("commit");
    drop(hold);
    commit.image.id
}

/// Unpacked layers that are nowhere; notes what it was asked to remove.
#[derive(Debug, Default)]
pub(crate) struct Nowhere {
    pub(crate) strays: Vec<String>,
    pub(crate) removed: std::cell::RefCell<Vec<String>>,
}

impl store::Unpacked for Nowhere {
    fn keys(&self) -> Vec<String> {
        self.strays.clone()
    }

    fn remove(&self, keys: &[String]) -> std::io::Result<()> {
        self.removed.borrow_mut().extend_from_slice(keys);
        Ok(())
    }
}
