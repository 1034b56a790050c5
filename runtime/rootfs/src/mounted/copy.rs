//! Copying a directory of the image into the tmpfs that covers it (`tmpcopyup`).

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Timespec, Timestamps, Uid, chownat, fchmod,
    fchown, fstat, futimens, mkdirat, mknodat, openat, readlinkat_raw, sendfile, statat, symlinkat,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// How deep directories may be in each other.
const DEPTH_MAX: usize = 128;

/// Copies what is in a directory, with owners, modes and times, but not what is mounted in it.
///
/// # Errors
/// The kernel's; `NOSPC` when the tmpfs is too small, `LOOP` when directories are too deep.
pub(super) fn contents(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    directory(from, to, DEPTH_MAX)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = openat(from, c".", flags, Mode::empty())?;
    let mut room = [MaybeUninit::<u8>::uninit(); 2048];
    let mut entries = RawDir::new(from.as_fd(), &mut room);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            one(from.as_fd(), to, name, depth)?;
        }
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Errno> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let below =
        |flags| openat(from, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty());
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let source = below(OFlags::PATH | OFlags::DIRECTORY)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let target = openat(to, name, flags, Mode::empty())?;
            directory(source.as_fd(), target.as_fd(), depth)?;
            dress(&target, &stat)
        }
        FileType::RegularFile => {
            let source = below(OFlags::RDONLY | OFlags::NONBLOCK)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = openat(to, name, flags, Mode::from_raw_mode(0o600))?;
            while sendfile(&target, &source, None, 1 << 30)? > 0 {}
            dress(&target, &fstat(&source)?)
        }
        FileType::Symlink => {
            let mut room = [MaybeUninit::<u8>::uninit(); crate::resolve::PATH_MAX];
            let (target, _) = readlinkat_raw(from, name, &mut room[..])?;
            let mut text = [0; crate::resolve::PATH_MAX + 1];
            let part = text.get_mut(..target.len()).ok_or(Errno::NAMETOOLONG)?;
            part.copy_from_slice(target);
            symlinkat(CStr::from_bytes_until_nul(&text).map_err(|_| Errno::INVAL)?, to, name)?;
            own(to, name, &stat)
        }
        kind => {
            mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev)?;
            own(to, name, &stat)
        }
    }
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

fn own(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (user, group) = owner(stat);
    chownat(folder, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner, then mode, which a change of owner would clear bits of, then times.
fn dress(file: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
    let (user, group) = owner(stat);
    fchown(file, user, group)?;
    fchmod(file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec as i64),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec as i64),
    };
    futimens(file, &times)
}
