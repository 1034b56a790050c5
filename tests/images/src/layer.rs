//! Layers of images, entry by entry.

use content_digest::Digest;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use tar::{EntryType, Header};

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip, quickly.
    #[default]
    Gzip,
    /// zstd.
    Zstd,
}

/// One layer: a tar stream.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Layer({} bytes)", self.tar.get_ref().len())
    }
}

impl Default for Layer {
    fn default() -> Layer {
        Layer::new()
    }
}

impl Layer {
    /// A layer with nothing in it.
    pub fn new() -> Layer {
        Layer { tar: tar::Builder::new(Vec::new()) }
    }

    /// Adds a directory.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Layer {
        self.entry(path, EntryType::Directory, mode, b"")
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, path: &str, content: &[u8]) -> Layer {
        self.entry(path, EntryType::Regular, 0o644, content)
    }

    /// Adds a file with a mode, like set-user-ID ones.
    #[must_use]
    pub fn file_of_mode(self, path: &str, mode: u32, content: &[u8]) -> Layer {
        self.entry(path, EntryType::Regular, mode, content)
    }

    /// Adds a file that somebody owns.
    #[must_use]
    pub fn file_of(mut self, path: &str, (uid, gid): (u64, u64), content: &[u8]) -> Layer {
        let mut header = header(EntryType::Regular, 0o640, content.len() as u64);
        header.set_uid(uid);
        header.set_gid(gid);
        self.tar.append_data(&mut header, path, content).expect("entry");
        self
    }

    /// Adds a file with an extended attribute.
    #[must_use]
    pub fn file_with_xattr(mut self, path: &str, name: &str, value: &[u8]) -> Layer {
        let key = format!("SCHILY.xattr.{name}");
        self.tar.append_pax_extensions([(key.as_str(), value)]).expect("attributes");
        self.file(path, b"with attributes\n")
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Layer {
        self.link(path, EntryType::Symlink, target)
    }

    /// Adds a hard link.
    #[must_use]
    pub fn hardlink(self, path: &str, target: &str) -> Layer {
        self.link(path, EntryType::Link, target)
    }

    /// Adds a named pipe.
    #[must_use]
    pub fn fifo(self, path: &str) -> Layer {
        self.entry(path, EntryType::Fifo, 0o600, b"")
    }

    /// Adds a character device.
    #[must_use]
    pub fn device(mut self, path: &str, major: u32, minor: u32) -> Layer {
        let mut header = header(EntryType::Char, 0o666, 0);
        header.set_device_major(major).expect("major");
        header.set_device_minor(minor).expect("minor");
        self.tar.append_data(&mut header, path, std::io::empty()).expect("entry");
        self
    }

    /// Hides a path of the layers below.
    #[must_use]
    pub fn whiteout(self, path: &str) -> Layer {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let slash = if dir.is_empty() { "" } else { "/" };
        self.file(&format!("{dir}{slash}.wh.{name}"), b"")
    }

    /// Hides all that the layers below have in a directory.
    #[must_use]
    pub fn opaque(self, dir: &str) -> Layer {
        self.file(&format!("{dir}/.wh..wh..opq"), b"")
    }

    fn entry(mut self, path: &str, kind: EntryType, mode: u32, content: &[u8]) -> Layer {
        let mut header = header(kind, mode, content.len() as u64);
        self.tar.append_data(&mut header, path, content).expect("entry");
        self
    }

    fn link(mut self, path: &str, kind: EntryType, target: &str) -> Layer {
        let mut header = header(kind, 0o777, 0);
        self.tar.append_link(&mut header, path, target).expect("entry");
        self
    }

    /// The tar stream.
    pub fn into_tar(self) -> Vec<u8> {
        self.tar.into_inner().expect("tar")
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header
}

/// A layer as registries have it.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) diff_id: Digest,
    pub(crate) packing: Packing,
}

pub(crate) fn pack(tar: &[u8], packing: Packing) -> Packed {
    let bytes = match packing {
        Packing::Plain => tar.to_vec(),
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(tar).expect("gzip");
            encoder.finish().expect("gzip")
        }
        Packing::Zstd => zstd::encode_all(tar, 1).expect("zstd"),
    };
    Packed { bytes, diff_id: Digest::sha256(tar), packing }
}
