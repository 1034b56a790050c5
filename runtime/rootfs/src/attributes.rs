//! Changing mounts: mount_setattr(2), and what there was before Linux 5.12.

use crate::failure::{At, Call, Fault, Step};
use crate::options::{Change, attr};
use crate::plan::old_flags;
use crate::proc::ProcHandle;
use crate::sys;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::{FileType, Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, open};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, mount_change, mount_remount, move_mount,
};
use std::ffi::CStr;
use std::io::Write;

/// Puts a detached tree in its place, changed; the tree's descriptor is then the mount's root.
pub(crate) fn attach(tree: BorrowedFd<'_>, place: BorrowedFd<'_>, changes: &[Change]) -> Step<()> {
    let old = match change_all(tree, changes) {
        Err(Fault { errno: Errno::NOSYS, .. }) => true,
        other => other.map(|()| false)?,
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    match move_mount(tree, c"", place, c"", flags) {
        // The kernel has one answer for much; this one is common and can be told apart.
        Err(Errno::INVAL) if is_directory(tree)? != is_directory(place)? => {
            return Err(Fault::new(Call::MoveMount, Errno::NOTDIR));
        }
        moved => moved.at(Call::MoveMount)?,
    }
    // mount(2) changes only what is attached.
    if old { changes.iter().try_for_each(|change| old_change(tree, change)) } else { Ok(()) }
}

/// Whether a file is a directory.
pub(crate) fn is_directory(fd: BorrowedFd<'_>) -> Step<bool> {
    let mode = fstat(fd).at(Call::Inspect)?.st_mode;
    Ok(FileType::from_raw_mode(mode) == FileType::Directory)
}

/// Changes a mount, attached or not.
pub(crate) fn change_all(mount: BorrowedFd<'_>, changes: &[Change]) -> Step<()> {
    let one = |change| sys::set_attributes(mount, change, None);
    changes.iter().try_for_each(one).at(Call::SetAttributes)
}

/// Changes an attached mount on any kernel.
pub(crate) fn change(mount: BorrowedFd<'_>, change: &Change) -> Step<()> {
    match sys::set_attributes(mount, change, None) {
        Err(Errno::NOSYS) => old_change(mount, change),
        other => other.at(Call::SetAttributes),
    }
}

/// The same with mount(2), which wants a path: one through a procfs of our own.
fn old_change(mount: BorrowedFd<'_>, change: &Change) -> Step<()> {
    if change.recursive && change.set | change.clear != 0 {
        return Err(Fault::new(Call::SetAttributes, Errno::NOSYS));
    }
    let proc = ProcHandle::open().at(Call::Mount)?;
    let here = open(c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Call::Mount)?;
    rustix::process::fchdir(&proc).at(Call::Mount)?;
    let mut room = [0; 32];
    let done = old_change_at(mount, change, descriptor_path(mount, &mut room));
    rustix::process::fchdir(&here).at(Call::Mount)?;
    done
}

fn old_change_at(mount: BorrowedFd<'_>, change: &Change, path: &CStr) -> Step<()> {
    if change.set | change.clear != 0 {
        let now = attributes_of(fstatvfs(mount).at(Call::Inspect)?.f_flag);
        let flags = old_flags((now & !change.clear) | change.set);
        let flags = MountFlags::from_bits_retain(u32::try_from(flags).unwrap_or(0));
        mount_remount(path, flags | MountFlags::BIND, c"").at(Call::Mount)?;
    }
    if change.propagation != 0 {
        let kind = u32::try_from(change.propagation).unwrap_or(0);
        let mut kind = MountPropagationFlags::from_bits_retain(kind);
        kind.set(MountPropagationFlags::REC, change.recursive);
        mount_change(path, kind).at(Call::Mount)?;
    }
    Ok(())
}

fn descriptor_path<'a>(fd: BorrowedFd<'_>, room: &'a mut [u8; 32]) -> &'a CStr {
    // Room for any number: the write cannot fail, and a zero byte follows.
    let _ = write!(room.as_mut_slice(), "self/fd/{}", fd.as_raw_fd());
    CStr::from_bytes_until_nul(room).unwrap_or_default()
}

/// What statvfs says about a mount, as attributes.
fn attributes_of(flags: StatVfsMountFlags) -> u64 {
    let table = [
        (StatVfsMountFlags::RDONLY, attr::RDONLY),
        (StatVfsMountFlags::NOSUID, attr::NOSUID),
        (StatVfsMountFlags::NODEV, attr::NODEV),
        (StatVfsMountFlags::NOEXEC, attr::NOEXEC),
        (StatVfsMountFlags::NOATIME, attr::NOATIME),
        (StatVfsMountFlags::NODIRATIME, attr::NODIRATIME),
    ];
    let given = table.iter().filter(|(flag, _)| flags.contains(*flag));
    let strict = !flags.intersects(StatVfsMountFlags::NOATIME | StatVfsMountFlags::RELATIME);
    let start = if strict { attr::STRICTATIME } else { 0 };
    given.fold(start, |all, (_, attribute)| all | attribute)
}
