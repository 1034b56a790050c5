//! Packing: a directory, such as the upper one of an overlay, to a layer.

use crate::compression::Compression;
use crate::error::{Error, Kind, shown};
use crate::owner::{IdRange, Owner, map};
use crate::tar::{EntryKind, Member, Time, Writer};
use crate::walk::{Found, Walk};
use crate::xattr::{Xattrs, is_overlay, read_xattrs};
use crate::{OPAQUE_MARKER, WHITEOUT_PREFIX};
use content_digest::{Digest, Hasher};
use flate2::write::GzEncoder;
use rustix::fs::{FileType, Mode, OFlags, fstat, major, minor, openat, readlinkat};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// How to pack.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// Compression of the layer.
    pub compression: Compression,
    /// How ids were mapped when the directory was filled; it is undone.
    pub owner: Owner,
}

impl Default for PackOptions {
    fn default() -> PackOptions {
        PackOptions { compression: Compression::Gzip, owner: Owner::Keep }
    }
}

/// A layer that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Number of compressed bytes.
    pub size: u64,
    /// Digest of the tar stream.
    pub diff_id: Digest,
    /// Bytes of the tar stream.
    pub tar_bytes: u64,
}

/// Writes what is beneath `dir` to `out` as a layer: whiteouts and opaque marks of an overlay
/// become those of layers. The same tree gives the same bytes. Sockets are left out: no layer can
/// hold them.
///
/// # Errors
/// A file cannot be read, changes meanwhile, or cannot be told in a layer (a name that means a
/// whiteout, an overlay's redirect); writing fails.
pub fn pack(dir: BorrowedFd<'_>, out: impl Write, options: &PackOptions) -> Result<Packed, Error> {
    let compressed = Count::new(out);
    let failed = |e| Error::io("archive", "finish", e);
    let (compressed, tar) = match options.compression {
        Compression::None => {
            let done = write_tree(dir, compressed, options)?;
            (done.inner, (done.hash, done.bytes))
        }
        Compression::Gzip => {
            let encoder = GzEncoder::new(compressed, flate2::Compression::new(6));
            let done = write_tree(dir, encoder, options)?;
            (done.inner.finish().map_err(failed)?, (done.hash, done.bytes))
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(compressed, 3).map_err(failed)?;
            encoder.include_checksum(true).map_err(failed)?;
            let done = write_tree(dir, encoder, options)?;
            (done.inner.finish().map_err(failed)?, (done.hash, done.bytes))
        }
    };
    let Count { mut inner, hash, bytes } = compressed;
    inner.flush().map_err(failed)?;
    let (tar_hash, tar_bytes) = tar;
    Ok(Packed { digest: hash.finish(), size: bytes, diff_id: tar_hash.finish(), tar_bytes })
}

/// Counts and hashes what is written.
struct Count<W> {
    inner: W,
    hash: Hasher,
    bytes: u64,
}

impl<W> Count<W> {
    fn new(inner: W) -> Count<W> {
        Count { inner, hash: content_digest::Algorithm::Sha256.hasher(), bytes: 0 }
    }
}

impl<W: Write> Write for Count<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

const BUFFER_BYTES: usize = 128 << 10;

fn write_tree<W: Write>(
    dir: BorrowedFd<'_>,
    out: W,
    options: &PackOptions,
) -> Result<Count<W>, Error> {
    let out = BufWriter::with_capacity(BUFFER_BYTES, Count::new(out));
    let mut packer = Packer {
        out: Writer::new(out),
        links: HashMap::new(),
        buffer: vec![0; BUFFER_BYTES],
        owner: undone(&options.owner),
    };
    let xattrs = read_xattrs(dir, None)?;
    if is_opaque(&xattrs) {
        packer.whiteout(OPAQUE_MARKER.as_bytes())?;
    }
    let mut walk = Walk::new(dir)?;
    while let Some(found) = walk.advance()? {
        packer.add(&found)?;
    }
    let out = packer.out.finish()?;
    out.into_inner().map_err(|e| Error::io("archive", "write", e.into_error()))
}

/// The map the other way round.
fn undone(owner: &Owner) -> Owner {
    let turn = |ranges: &[IdRange]| {
        let turned = ranges.iter().map(|range| IdRange {
            container: range.host,
            host: range.container,
            size: range.size,
        });
        turned.collect()
    };
    match owner {
        Owner::Mapped { uids, gids } => Owner::Mapped { uids: turn(uids), gids: turn(gids) },
        other => other.clone(),
    }
}

struct Packer<W> {
    out: Writer<W>,
    /// First path of files with several links, by inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    owner: Owner,
}

fn opaque_value<'a>(xattrs: &'a Xattrs, what: &str) -> Option<&'a [u8]> {
    let found = xattrs.iter().find(|(name, _)| {
        ["trusted.overlay.", "user.overlay."]
            .iter()
            .any(|prefix| name.strip_prefix(prefix.as_bytes()) == Some(what.as_bytes()))
    });
    found.map(|(_, value)| value.as_slice())
}

fn is_opaque(xattrs: &Xattrs) -> bool {
    opaque_value(xattrs, "opaque") == Some(b"y")
}

impl<W: Write> Packer<W> {
    fn add(&mut self, found: &Found<'_>) -> Result<(), Error> {
        if found.name.starts_with(WHITEOUT_PREFIX.as_bytes()) {
            let detail = "its name means a whiteout in a layer";
            return Err(Error::new(Kind::Whiteout, shown(found.path), detail));
        }
        let stat = &found.stat;
        let xattrs = read_xattrs(found.dir, Some(found.name))?;
        for note in ["redirect", "metacopy"] {
            if opaque_value(&xattrs, note).is_some() {
                let detail = format!("holds an overlay's {note}, whose data is elsewhere");
                return Err(Error::new(Kind::Unsupported, shown(found.path), detail));
            }
        }
        let device_gone = found.file_type == FileType::CharacterDevice && stat.st_rdev == 0;
        if device_gone || opaque_value(&xattrs, "whiteout").is_some() {
            let (parent, name) = found.path.split_at(found.path.len() - found.name.len());
            return self.whiteout(&[parent, WHITEOUT_PREFIX.as_bytes(), name].concat());
        }
        let opaque = is_opaque(&xattrs);
        let kept: Xattrs = xattrs.into_iter().filter(|(name, _)| !is_overlay(name)).collect();
        self.plain(found, &kept)?;
        match opaque {
            true => self.whiteout(&[found.path, b"/", OPAQUE_MARKER.as_bytes()].concat()),
            false => Ok(()),
        }
    }

    fn whiteout(&mut self, name: &[u8]) -> Result<(), Error> {
        self.out.header(&Member {
            name,
            kind: &EntryKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size: 0,
            xattrs: &[],
        })
    }

    fn plain(&mut self, found: &Found<'_>, xattrs: &Xattrs) -> Result<(), Error> {
        let stat = &found.stat;
        let Some(kind) = self.kind(found)? else { return Ok(()) };
        let (uid, gid) = self.ids(found)?;
        let directory = [found.path, b"/"].concat();
        let name = if kind == EntryKind::Directory { &directory } else { found.path };
        let mut member = Member {
            name,
            kind: &kind,
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            mtime: Time {
                seconds: stat.st_mtime,
                nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            size: 0,
            xattrs: if matches!(kind, EntryKind::HardLink(_)) { &[] } else { xattrs },
        };
        if kind != EntryKind::File {
            return self.out.header(&member);
        }
        let failed = |doing| move |e| Error::io(shown(found.path), doing, e);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(found.dir, found.name, flags, Mode::empty()).map_err(failed("open"))?;
        let size = fstat(file.as_fd()).map_err(failed("stat"))?.st_size;
        member.size = u64::try_from(size).unwrap_or(0);
        self.out.header(&member)?;
        self.out.data(found.path, File::from(file), member.size, &mut self.buffer)
    }

    fn kind(&mut self, found: &Found<'_>) -> Result<Option<EntryKind>, Error> {
        let stat = &found.stat;
        if found.file_type != FileType::Directory && stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                return Ok(Some(EntryKind::HardLink(first.clone())));
            }
            self.links.insert(key, found.path.to_vec());
        }
        let device = (major(stat.st_rdev), minor(stat.st_rdev));
        Ok(match found.file_type {
            FileType::RegularFile => Some(EntryKind::File),
            FileType::Directory => Some(EntryKind::Directory),
            FileType::Symlink => {
                let text = readlinkat(found.dir, found.name, Vec::new())
                    .map_err(|e| Error::io(shown(found.path), "read the link", e))?;
                Some(EntryKind::Symlink(text.into_bytes()))
            }
            FileType::CharacterDevice => Some(EntryKind::Character(device.0, device.1)),
            FileType::BlockDevice => Some(EntryKind::Block(device.0, device.1)),
            FileType::Fifo => Some(EntryKind::Fifo),
            FileType::Socket | FileType::Unknown => None,
        })
    }

    fn ids(&self, found: &Found<'_>) -> Result<(u32, u32), Error> {
        let (uid, gid) = (found.stat.st_uid, found.stat.st_gid);
        match &self.owner {
            Owner::Keep => Ok((uid, gid)),
            Owner::Caller => Ok((0, 0)),
            Owner::Mapped { uids, gids } => map(uids, uid).zip(map(gids, gid)).ok_or_else(|| {
                let detail = format!("owner {uid}:{gid} is outside of the id map");
                Error::new(Kind::Unsupported, shown(found.path), detail)
            }),
        }
    }
}
