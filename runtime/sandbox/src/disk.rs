//! Small files that are there whole, or known to be broken.
//!
//! Nothing is synced: what is written survives the end of any process, and a loss of power is a
//! boot, after which a pod is not ready in any case. A file that was cut short then is told by its
//! head, which has length and checksum.

use crate::{Error, Result};
use prost::Message;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// First bytes of a file; the digit is the format's version.
const MAGIC: &[u8; 8] = b"plmsbx1\n";

/// Bytes in front of the message: magic, length, checksum.
const HEAD: usize = 8 + 8 + 8;

/// The longest file that is read, in bytes.
const FILE_MAX: u64 = 32 << 20;

/// FNV-1a, 64 bits: against half-written files, not against anybody.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn seal(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut file = Vec::with_capacity(HEAD + body.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&(body.len() as u64).to_le_bytes());
    file.extend_from_slice(&checksum(&body).to_le_bytes());
    file.extend_from_slice(&body);
    file
}

fn unseal<M: Message + Default>(file: &[u8]) -> Result<M, String> {
    let number = |at: usize| {
        let bytes: Option<[u8; 8]> = file.get(at..at + 8).and_then(|b| b.try_into().ok());
        bytes.map(u64::from_le_bytes)
    };
    let (Some(length), Some(sum)) = (number(8), number(16)) else {
        return Err(format!("has {} bytes, it was cut short", file.len()));
    };
    if &file[..8] != MAGIC {
        return Err("is not a record of this or an older release".to_owned());
    }
    let body = &file[HEAD..];
    if body.len() as u64 != length || checksum(body) != sum {
        return Err("is damaged: length or checksum differ".to_owned());
    }
    M::decode(body).map_err(|e| e.to_string())
}

/// Writes `message` to `path`, in whose directory the file lies under another name first.
///
/// # Errors
/// What the kernel says.
pub fn write(path: &Path, message: &impl Message) -> Result<()> {
    replace(path, &seal(message), 0o600).map_err(|e| Error::io(path.display(), &e))
}

/// Reads what [`write()`] wrote; `None` if there is no file.
///
/// # Errors
/// Also when the file is broken.
pub fn read<M: Message + Default>(path: &Path) -> Result<Option<M>> {
    let broken = |cause: String| {
        Error::new(crate::Kind::Io, path.display(), cause)
            .with_advice("it counts as half made and is undone")
    };
    match fs::metadata(path) {
        Ok(meta) if meta.len() > FILE_MAX => return Err(broken("is too long".to_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Ok(_) | Err(_) => {}
    }
    let bytes = fs::read(path).map_err(|e| Error::io(path.display(), &e))?;
    unseal(&bytes).map(Some).map_err(broken)
}

/// Replaces the file at `path` as a whole.
///
/// # Errors
/// What the kernel says.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    options.open(&new)?.write_all(bytes)?;
    fs::rename(&new, path)
}

/// Makes a directory that only root enters, and what is missing above it.
///
/// # Errors
/// What the kernel says.
pub fn make_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| Error::io(path.display(), &e))
}

/// Names in a directory; one that is not there is empty.
///
/// # Errors
/// What the kernel says.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let fault = |e: &io::Error| Error::io(path.display(), e);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fault(&e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| fault(&e))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Removes a directory with all that is in it; success when it is not there. Never enters what is
/// mounted below, whose content may be another's: that must have been unmounted.
///
/// # Errors
/// What the kernel says; a mount is told as one.
pub fn remove_dir(path: &Path) -> Result<()> {
    let Some(name) = path.file_name() else {
        return Err(Error::invalid(path.display(), "is no directory to remove"));
    };
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let removed = match open_dir(rustix::fs::CWD, parent.as_os_str().as_bytes()) {
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => Err(errno),
        Ok(parent) => remove_below(parent.as_fd(), name.as_bytes()),
    };
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::XDEV | Errno::BUSY) => {
            let cause = "cannot be removed: something is still mounted in it";
            Err(Error::new(crate::Kind::Io, path.display(), cause)
                .with_advice("find the mounts in /proc/self/mountinfo and unmount them"))
        }
        Err(errno) => Err(Error::io(path.display(), &errno.into())),
    }
}

fn open_dir(at: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Removes the directory `name` in `parent`.
fn remove_below(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = ResolveFlags::NO_XDEV | ResolveFlags::BENEATH;
    let dir = rustix::fs::openat2(parent, name, flags, Mode::empty(), inside)?;
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        // Most are files; a directory says so.
        match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_below(dir.as_fd(), name)?,
            Err(Errno::NOENT) | Ok(()) => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Status;

    #[test]
    fn every_cut_and_every_flipped_byte_is_noticed() {
        let status = Status { boot_id: "b".to_owned(), ready: true, ..Status::default() };
        let file = seal(&status);
        assert_eq!(unseal::<Status>(&file), Ok(status));
        for length in 0..file.len() {
            assert!(unseal::<Status>(&file[..length]).is_err(), "{length} bytes");
        }
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 0x10;
            assert!(unseal::<Status>(&bad).is_err(), "byte {at}");
        }
        assert!(unseal::<Status>(&vec![0; file.len()]).is_err(), "zeros");
    }

    #[test]
    fn what_is_mounted_below_is_never_emptied() {
        let base = std::env::temp_dir().join(format!("podloom-disk-{}", std::process::id()));
        let (kept, gone) = (base.join("kept"), base.join("gone"));
        fs::create_dir_all(kept.join("deep")).expect("make");
        fs::write(kept.join("deep/file"), "").expect("write");
        fs::create_dir_all(gone.join("a/mount")).expect("make");
        fs::write(gone.join("a/file"), "").expect("write");
        std::os::unix::fs::symlink(&kept, gone.join("a/link")).expect("link");
        // A bind mount of the same file system: no device number tells it.
        rustix::mount::mount_bind(&kept, gone.join("a/mount")).expect("mount");
        let e = remove_dir(&gone).expect_err("mounted");
        assert!(e.to_string().contains("mounted"), "{e}");
        assert!(kept.join("deep/file").exists());
        let flags = rustix::mount::UnmountFlags::empty();
        rustix::mount::unmount(gone.join("a/mount"), flags).expect("unmount");
        remove_dir(&gone).expect("remove");
        remove_dir(&gone).expect("again");
        assert!(!gone.exists() && kept.join("deep/file").exists());
        remove_dir(&base).expect("remove");
        remove_dir(&base.join("not/there")).expect("nothing");
    }
}
