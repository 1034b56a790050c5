//! What is known of a snapshot, and its file.

use crate::error::{Error, Kind};
use crate::name::Name;
use layer::{IdRange, Usage};
use rustix::fs::{Mode, OFlags, openat};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// What a snapshot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// An unpacked layer; never changes.
    Committed,
    /// A container's, to write to.
    Active,
    /// To read only.
    View,
}

/// Id ranges of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WireIds", into = "WireIds")]
pub struct Ids {
    /// Of users.
    pub uids: Vec<IdRange>,
    /// Of groups.
    pub gids: Vec<IdRange>,
}

impl Ids {
    /// The ids on disk of an owner and a group, or `None` when one has no place.
    pub(crate) fn map(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        let map = |ranges: &[IdRange], id: u32| {
            ranges.iter().find_map(|range| {
                let offset = id.checked_sub(range.container)?;
                (offset < range.size).then(|| range.host.checked_add(offset))?
            })
        };
        Some((map(&self.uids, uid)?, map(&self.gids, gid)?))
    }
}

/// Ids as they are written: `[container, host, size]`.
#[derive(Clone, Serialize, Deserialize)]
struct WireIds {
    uids: Vec<[u32; 3]>,
    gids: Vec<[u32; 3]>,
}

impl From<WireIds> for Ids {
    fn from(wire: WireIds) -> Ids {
        let ranges = |all: Vec<[u32; 3]>| {
            let ranges = all.into_iter();
            ranges.map(|[container, host, size]| IdRange { container, host, size }).collect()
        };
        Ids { uids: ranges(wire.uids), gids: ranges(wire.gids) }
    }
}

impl From<Ids> for WireIds {
    fn from(ids: Ids) -> WireIds {
        let ranges = |all: Vec<IdRange>| {
            all.into_iter().map(|range| [range.container, range.host, range.size]).collect()
        };
        WireIds { uids: ranges(ids.uids), gids: ranges(ids.gids) }
    }
}

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: Name,
    /// What it is for.
    pub kind: SnapshotKind,
    /// What it is built on.
    pub parent: Option<Name>,
    /// What a committed snapshot takes on disk by itself, without its parents. Zero for others:
    /// ask [`Snapshotter::usage`](crate::Snapshotter::usage).
    pub usage: Usage,
    /// The caller's notes.
    pub labels: BTreeMap<String, String>,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// The ids that its files are mapped to.
    pub ids: Option<Ids>,
    /// Number of its directory.
    pub(crate) id: u64,
    /// Whether it hides everything it is built on.
    pub(crate) opaque_root: bool,
}

/// The file `record.json`.
#[derive(Serialize, Deserialize)]
struct Wire {
    version: u32,
    name: Name,
    kind: SnapshotKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<Name>,
    bytes: u64,
    inodes: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ids: Option<Ids>,
    #[serde(default)]
    opaque_root: bool,
}

const FILE: &str = "record.json";
const VERSION: u32 = 1;
/// Larger records are not ours.
const MOST_BYTES: u64 = 1 << 20;

/// Writes the record into the directory of the snapshot, which is not complete yet.
pub(crate) fn write(dir: BorrowedFd<'_>, path: &Path, info: &Info) -> Result<(), Error> {
    let wire = Wire {
        version: VERSION,
        name: info.name.clone(),
        kind: info.kind,
        parent: info.parent.clone(),
        bytes: info.usage.bytes,
        inodes: info.usage.inodes,
        labels: info.labels.clone(),
        created: info.created,
        ids: info.ids.clone(),
        opaque_root: info.opaque_root,
    };
    let text = serde_json::to_vec(&wire).map_err(|e| Error::io(path, "encode the record", e))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(Error::new(Kind::Invalid, &info.name, "its labels are larger than 1 MiB"));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(dir, FILE, flags, Mode::from_raw_mode(0o600))
        .map_err(|e| Error::io(path, "make the record", e))?;
    File::from(file).write_all(&text).map_err(|e| Error::io(path, "write the record", e))
}

/// Reads the record of the snapshot in `dir`. `None`: there is none that makes sense, so the
/// snapshot was never complete on disk.
///
/// # Errors
/// The record is of a newer version, which must not be taken for a leftover; or reading failed.
pub(crate) fn read(dir: BorrowedFd<'_>, id: u64, path: &Path) -> Result<Option<Info>, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(dir, FILE, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(e) => return Err(Error::io(path, "open the record", e)),
    };
    let mut text = Vec::new();
    let mut file = file.take(MOST_BYTES);
    file.read_to_end(&mut text).map_err(|e| Error::io(path, "read the record", e))?;
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Ok(Version { version }) = serde_json::from_slice(&text) else { return Ok(None) };
    if version != VERSION {
        let detail = format!("its record has version {version}; this program knows {VERSION}");
        return Err(Error::new(Kind::Unsupported, path.display(), detail));
    }
    let Ok(wire) = serde_json::from_slice::<Wire>(&text) else { return Ok(None) };
    Ok(Some(Info {
        name: wire.name,
        kind: wire.kind,
        parent: wire.parent,
        usage: Usage { bytes: wire.bytes, inodes: wire.inodes },
        labels: wire.labels,
        created: wire.created,
        ids: wire.ids,
        id,
        opaque_root: wire.opaque_root,
    }))
}
