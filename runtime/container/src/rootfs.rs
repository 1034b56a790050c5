//! A container's file system on the node: its layers, mounted; and what of it is read and made before
//! the container runs. What is in it is hostile: it is found from its root, and nothing leads out.

use crate::spec::Accounts;
use crate::{Error, Kind, Result};
use image::{Digest, ImageService};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use snapshot::{IdRange, Ids, Name, SnapshotKind, Spec};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Longest passwd or group file of an image, in bytes.
const ACCOUNTS_MAX: u64 = 4 << 20;

/// A file system made of an image.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// Name of the snapshot.
    pub(crate) name: &'a str,
    pub(crate) image: &'a Digest,
    pub(crate) kind: SnapshotKind,
    /// The user namespace whose ids the files get.
    pub(crate) user: Option<&'a sandbox::User>,
    /// Where it is mounted; made when it is missing.
    pub(crate) target: &'a Path,
}

pub(crate) fn of_snapshot(e: &snapshot::Error) -> Error {
    let kind = match e.kind() {
        snapshot::Kind::NotFound => Kind::NotFound,
        snapshot::Kind::Invalid => Kind::Invalid,
        snapshot::Kind::Unsupported => Kind::Precondition,
        _ => Kind::Io,
    };
    Error::new(kind, "layers", e)
}

/// Makes the snapshot and mounts it. On failure, [`undo`] takes away what came to be.
///
/// # Errors
/// A layer is missing, or the kernel refuses the mount.
pub(crate) fn mount(images: &ImageService, wanted: &Wanted<'_>) -> Result<()> {
    let contents = images.store().contents(wanted.image);
    let contents = contents.map_err(|e| Error::new(Kind::NotFound, wanted.image, e))?;
    let name = |text: &str| Name::new(text).map_err(|e| of_snapshot(&e));
    let parent = contents.layers.last().map(|key| name(key)).transpose()?;
    let spec = Spec {
        name: name(wanted.name)?,
        parent,
        kind: wanted.kind,
        labels: BTreeMap::new(),
        ids: wanted.user.map(ids),
    };
    let layers = images.layers();
    layers.prepare(&spec).map_err(|e| of_snapshot(&e))?;
    sandbox::disk::make_dir(wanted.target)?;
    let userns = wanted.user.map(|user| File::open(&user.path)).transpose();
    let userns = userns.map_err(|e| Error::io("the pod's user namespace", &e))?;
    // Nobody reads a container's changes after a power cut, and writing them out when it is removed
    // would write out the whole disk.
    let mount = layers.mount(&spec.name).map_err(|e| of_snapshot(&e))?.volatile();
    mount.attach(userns.as_ref().map(AsFd::as_fd), wanted.target).map_err(|e| of_snapshot(&e))
}

fn ids(user: &sandbox::User) -> Ids {
    let ranges = |all: &[sandbox::IdRange]| {
        all.iter()
            .map(|r| IdRange { container: r.container, host: r.host, size: r.length })
            .collect()
    };
    Ids { uids: ranges(&user.uids), gids: ranges(&user.gids) }
}

/// Takes a mount off its place; success when nothing is mounted there.
///
/// # Errors
/// What the kernel says.
pub(crate) fn unmount_all(place: &Path) -> Result<()> {
    loop {
        match unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // There may be one over another.
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(e) => return Err(Error::io(format!("unmount {}", place.display()), &e.into())),
        }
    }
}

/// Removes a snapshot; success when it is not there.
///
/// # Errors
/// What the snapshotter says.
pub(crate) fn remove(images: &ImageService, name: &str) -> Result<()> {
    let name = Name::new(name).map_err(|e| of_snapshot(&e))?;
    images.layers().remove(&name).map_err(|e| of_snapshot(&e))
}

/// A mounted file system, open at its root.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    path: PathBuf,
}

impl Tree {
    /// Opens the one mounted at `path`.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn open(path: &Path) -> Result<Tree> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let root = rustix::fs::open(path, flags, Mode::empty());
        let root = root.map_err(|e| Error::io(path.display(), &e.into()))?;
        Ok(Tree { root, path: path.to_owned() })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// The files by which users are known.
    ///
    /// # Errors
    /// One is too long or cannot be read.
    pub(crate) fn accounts(&self) -> Result<Accounts> {
        Ok(Accounts { passwd: self.read("etc/passwd")?, group: self.read("etc/group")? })
    }

    /// The content of a file; empty if there is none, or something else than a file.
    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let fail = |e: std::io::Error| Error::io(format!("/{path} of the image"), &e);
        let file = match self.at(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::XDEV) => {
                return Ok(Vec::new());
            }
            Err(e) => return Err(fail(e.into())),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| fail(e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(Vec::new());
        }
        let mut content = Vec::new();
        File::from(file).take(ACCOUNTS_MAX + 1).read_to_end(&mut content).map_err(fail)?;
        if content.len() as u64 > ACCOUNTS_MAX {
            let cause = format!("is longer than {ACCOUNTS_MAX} bytes");
            return Err(Error::new(Kind::Invalid, format!("/{path} of the image"), cause));
        }
        Ok(content)
    }

    /// Makes a directory, and those above it, unless they are there; where it is on the node.
    ///
    /// # Errors
    /// Something else is there, or the kernel refuses.
    pub(crate) fn make_dir(&self, path: &Path, owner: (u32, u32)) -> Result<PathBuf> {
        let subject = || format!("{} of the image", path.display());
        let fail = |e: Errno| Error::io(subject(), &e.into());
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        let mut done = PathBuf::from(".");
        let mut parent = self.at(&done, directory).map_err(fail)?;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            done.push(name);
            parent = match self.at(&done, directory) {
                Err(Errno::NOENT) => {
                    mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(fail)?;
                    let made = self.at(&done, directory).map_err(fail)?;
                    let (uid, gid) = owner;
                    let empty = rustix::fs::AtFlags::EMPTY_PATH;
                    let (uid, gid) =
                        (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
                    rustix::fs::chownat(&made, "", Some(uid), Some(gid), empty).map_err(fail)?;
                    made
                }
                other => other.map_err(fail)?,
            };
        }
        // Free of links, and nobody changes it before the container runs.
        let link = format!("/proc/self/fd/{}", parent.as_raw_fd());
        let real = std::fs::read_link(link).map_err(|e| Error::io(subject(), &e))?;
        if !real.starts_with(&self.path) {
            return Err(Error::new(Kind::Invalid, subject(), "is not in the image's file system"));
        }
        Ok(real)
    }
}
