//! A service in a directory of its own, and what its images are compared with.

#![allow(dead_code, reason = "each test program uses a part")]

use image::{ImageService, Pull, RegistryConfig, Settings, Summary};
use images::{Registry, Scratch};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A service's directories.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) scratch: Scratch,
}

impl Desk {
    pub(crate) fn new() -> Desk {
        Desk { scratch: Scratch::new("image") }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.path("root")
    }

    pub(crate) fn certs(&self) -> PathBuf {
        self.scratch.path("certs.d")
    }

    /// Writes a `hosts.toml` for a registry.
    pub(crate) fn hosts(&self, registry: &str, text: &str) {
        let dir = self.certs().join(registry);
        fs::create_dir_all(&dir).expect("certs.d");
        fs::write(dir.join("hosts.toml"), text).expect("hosts.toml");
    }

    /// Trust in a registry's own authority.
    pub(crate) fn trust(&self, registry: &Registry) {
        let (host, ca) = (registry.host(), registry.authority());
        let text = format!("server = \"https://{host}\"\nca = {ca:?}\n");
        self.hosts(&host, &text);
    }

    pub(crate) fn settings(&self) -> Settings {
        let registry = RegistryConfig {
            certs_d: vec![self.certs()],
            backoff: Duration::from_millis(20),
            ..RegistryConfig::default()
        };
        Settings { registry, ..Settings::below(&self.root()) }
    }

    pub(crate) fn service(&self) -> ImageService {
        ImageService::open(self.settings()).expect("service")
    }

    /// The directories of an image's layers, lowest first.
    pub(crate) fn layer_dirs(&self, service: &ImageService, image: &Summary) -> Vec<PathBuf> {
        let details = service.inspect(image.id.as_str()).expect("details");
        let mut by_name = BTreeMap::new();
        let snapshots = self.root().join("overlay/snapshots");
        for entry in fs::read_dir(snapshots).expect("snapshots").flatten() {
            let text = fs::read(entry.path().join("record.json")).expect("record");
            let record: serde_json::Value = serde_json::from_slice(&text).expect("record");
            let name = record["name"].as_str().expect("name").to_owned();
            by_name.insert(name, entry.path().join("fs"));
        }
        details.layers.iter().map(|name| by_name[name].clone()).collect()
    }

    /// What is not the image's: files of unfinished work.
    pub(crate) fn strays(&self) -> Vec<PathBuf> {
        let root = self.root();
        let dirs = ["store/ingest", "store/trash", "overlay/new", "overlay/trash"];
        let entries =
            dirs.iter().flat_map(|dir| fs::read_dir(root.join(dir)).into_iter().flatten());
        entries.flatten().map(|entry| entry.path()).collect()
    }
}

/// A pull with the registry's password.
pub(crate) fn with_password(reference: &str) -> Pull {
    let mut pull = Pull::new(reference).expect("reference");
    pull.credentials = Some(image::Credentials::password(Registry::USER, Registry::PASSWORD));
    pull
}

/// The layers as a container sees them, mounted for the life of the value.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    /// None where there is no overlay.
    pub(crate) fn new(at: &Path, layers: &[PathBuf]) -> Option<Mounted> {
        fs::create_dir_all(at).expect("mount point");
        let lower: Vec<_> = layers.iter().rev().map(|dir| dir.display().to_string()).collect();
        let empty = at.with_extension("empty");
        fs::create_dir_all(&empty).expect("empty");
        let options = format!("ro,lowerdir={}:{}", lower.join(":"), empty.display());
        let mounted = Command::new("mount")
            .args(["-t", "overlay", "-o", &options, "podloom-test"])
            .arg(at)
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Mounted(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// What is compared of every file: kind, mode, owner, device, size, time, link, content, attributes.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut links: BTreeMap<(u64, u64), String> = BTreeMap::new();
    walk(root, root, &mut links, &mut found);
    found
}

type Links = BTreeMap<(u64, u64), String>;

fn walk(root: &Path, dir: &Path, links: &mut Links, found: &mut BTreeMap<String, String>) {
    let mut entries: Vec<_> =
        fs::read_dir(dir).expect("directory").map(|e| e.expect("entry").path()).collect();
    entries.sort();
    for path in entries {
        let meta = fs::symlink_metadata(&path).expect("metadata");
        let name = path.strip_prefix(root).expect("below").display().to_string();
        let kind = meta.file_type();
        let what = if kind.is_symlink() {
            format!("link {:?}", fs::read_link(&path).expect("link"))
        } else if kind.is_dir() {
            "directory".to_owned()
        } else if kind.is_file() {
            let bytes = fs::read(&path).expect("content");
            format!("file {}", image::Digest::sha256(&bytes))
        } else if kind.is_fifo() {
            "fifo".to_owned()
        } else {
            format!("device {:x}", meta.rdev())
        };
        let twin = links.entry((meta.dev(), meta.ino())).or_insert_with(|| name.clone()).clone();
        let twin = if meta.nlink() > 1 && !kind.is_dir() { twin } else { String::new() };
        // Whiteouts have no time of their own.
        let is_whiteout = kind.is_char_device() && meta.rdev() == 0;
        let time = if kind.is_dir() || is_whiteout { 0 } else { meta.mtime() };
        let text = format!(
            "{what} mode {:o} owner {}:{} time {time} twin {twin:?} attributes {}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            attributes(&path)
        );
        found.insert(name, text);
        if kind.is_dir() {
            walk(root, &path, links, found);
        }
    }
}

/// User attributes and capabilities; others belong to the file system.
fn attributes(path: &Path) -> String {
    let mut names = vec![0; 4096];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names) else { return String::new() };
    let mut text = String::new();
    for name in names[..length].split(|b| *b == 0).filter(|name| name.starts_with(b"user.")) {
        let name = String::from_utf8_lossy(name).into_owned();
        if name.starts_with("user.overlay") {
            continue;
        }
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(path, &name, &mut value).expect("attribute");
        text.push_str(&format!("{name}={:?} ", &value[..length]));
    }
    text
}

/// What Debian's umoci makes of a layout's image, or none without it.
pub(crate) fn umoci(layout: &Path, tag: &str, bundle: &Path) -> Option<PathBuf> {
    let image = format!("{}:{tag}", layout.display());
    let output = Command::new("umoci").args(["unpack", "--image", &image]).arg(bundle).output();
    let output = output.ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(bundle.join("rootfs"))
}
