//! The same tree as Debian's `umoci unpack` makes, byte and attribute.

#![allow(clippy::expect_used, reason = "a failed step fails the test")]

use layer::{Compression, Digest, Expect, Options, PackOptions, Walk, Whiteouts};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory that goes with its end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("remove the scratch directory");
    }
}

fn fill(dir: &Path) {
    let make = || -> std::io::Result<()> {
        fs::create_dir_all(dir.join("usr/bin"))?;
        fs::create_dir_all(dir.join(format!("usr/{}/deep", "long".repeat(40))))?;
        for at in 0..300 {
            fs::write(dir.join(format!("usr/bin/f{at}")), vec![b'x'; at * 37])?;
        }
        fs::set_permissions(dir.join("usr/bin/f1"), fs::Permissions::from_mode(0o4711))?;
        fs::set_permissions(dir.join("usr"), fs::Permissions::from_mode(0o1777))?;
        chown(dir.join("usr/bin/f2"), Some(3_000_000), Some(12))?;
        chown(dir.join("usr/bin/f3"), Some(33), Some(33))?;
        fs::hard_link(dir.join("usr/bin/f4"), dir.join("usr/hard"))?;
        symlink("/usr/bin", dir.join("bin"))?;
        symlink("../nowhere", dir.join("usr/dangling"))
    };
    make().expect("fill the directory");
    let root = fs::File::open(dir).expect("open");
    let mode = rustix::fs::Mode::from_raw_mode(0o620);
    for (name, kind, device) in [
        ("null", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        ("loop", rustix::fs::FileType::BlockDevice, rustix::fs::makedev(7, 300)),
        ("fifo", rustix::fs::FileType::Fifo, 0),
    ] {
        rustix::fs::mknodat(&root, name, kind, mode, device).expect("make a node");
    }
    let empty = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(dir.join("usr/bin/f5"), "user.note", b"\0binary", empty).expect("xattr");
}

/// Everything of a tree that can be told apart.
fn tree(dir: &Path) -> BTreeMap<String, String> {
    let root = fs::File::open(dir).expect("open");
    let mut all = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut walk = Walk::new(root.as_fd()).expect("walk");
    while let Some(found) = walk.advance().expect("walk") {
        let path = String::from_utf8_lossy(found.path).into_owned();
        let stat = &found.stat;
        let first = inodes.entry(stat.st_ino).or_insert_with(|| path.clone()).clone();
        let xattrs = layer::read_xattrs(found.dir, Some(found.name)).expect("attributes");
        let real = dir.join(&path);
        let content = match found.file_type {
            rustix::fs::FileType::RegularFile => {
                Digest::sha256(&fs::read(&real).expect("read")).to_string()
            }
            rustix::fs::FileType::Symlink => format!("{:?}", fs::read_link(&real).expect("read")),
            _ => String::new(),
        };
        let (mode, size) = (stat.st_mode, content.len());
        let owner = (stat.st_uid, stat.st_gid, stat.st_rdev, stat.st_nlink);
        let time = (stat.st_mtime, stat.st_mtime_nsec);
        let text = format!("{mode:o} {owner:?} {time:?} {first} {xattrs:?} {size} {content}");
        all.insert(path, text);
    }
    all
}

fn blob(image: &Path, bytes: &[u8]) -> String {
    let digest = Digest::sha256(bytes);
    fs::write(image.join("blobs/sha256").join(digest.hex()), bytes).expect("write a blob");
    format!(r#""digest":"{digest}","size":{}"#, bytes.len())
}

fn image(image: &Path, layer: &[u8], diff_id: &Digest) {
    fs::create_dir_all(image.join("blobs/sha256")).expect("make the image");
    let layer = blob(image, layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let config = blob(image, config.as_bytes());
    let oci = "application/vnd.oci.image";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{oci}.manifest.v1+json","config":{{"mediaType":"{oci}.config.v1+json",{config}}},"layers":[{{"mediaType":"{oci}.layer.v1.tar+gzip",{layer}}}]}}"#
    );
    let manifest = blob(image, manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{oci}.manifest.v1+json",{manifest},"annotations":{{"org.opencontainers.image.ref.name":"t"}}}}]}}"#
    );
    fs::write(image.join("index.json"), index).expect("write the index");
    fs::write(image.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("layout");
}

#[test]
fn the_same_tree_as_umoci() {
    if Command::new("umoci").arg("--version").output().is_err() {
        return lab::skip("umoci: not installed");
    }
    let name = format!("podloom-umoci-{}", std::process::id());
    let scratch = Scratch(std::env::temp_dir().join(name));
    let at = |name: &str| scratch.0.join(name);
    fs::create_dir_all(at("source")).expect("make");
    fs::create_dir_all(at("ours")).expect("make");
    fill(&at("source"));
    let source = fs::File::open(at("source")).expect("open");
    let mut bytes = Vec::new();
    let packed = layer::pack(source.as_fd(), &mut bytes, &PackOptions::default()).expect("pack");
    let mut again = Vec::new();
    layer::pack(source.as_fd(), &mut again, &PackOptions::default()).expect("pack");
    assert!(bytes == again, "packing the same tree gives the same bytes");
    image(&at("image"), &bytes, &packed.diff_id);
    let from = format!("{}:t", at("image").display());
    let mut umoci = Command::new("umoci");
    let done = umoci.args(["unpack", "--image", &from]).arg(at("bundle")).output().expect("run");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let ours = fs::File::open(at("ours")).expect("open");
    let expect = Expect {
        compression: Some(Compression::Gzip),
        digest: Some(packed.digest),
        size: Some(packed.size),
        diff_id: Some(packed.diff_id),
    };
    let options = Options { whiteouts: Whiteouts::Overlay, ..Options::default() };
    let report = layer::unpack(&bytes[..], ours.as_fd(), &expect, &options).expect("unpack");
    let (ours, theirs, source) =
        (tree(&at("ours")), tree(&at("bundle/rootfs")), tree(&at("source")));
    assert!(ours.len() > 300);
    for (path, what) in &ours {
        assert_eq!(Some(what), theirs.get(path), "{path}: ours, theirs");
        assert_eq!(Some(what), source.get(path), "{path}: ours, the source");
    }
    assert_eq!(ours.len(), theirs.len());
    let walked = layer::usage(fs::File::open(at("ours")).expect("open").as_fd()).expect("walk");
    assert_eq!(report.usage.inodes + 1, walked.inodes);
    let off = report.usage.bytes.abs_diff(walked.bytes);
    assert!(off * 50 <= walked.bytes, "{} counted, {} walked", report.usage.bytes, walked.bytes);
}
