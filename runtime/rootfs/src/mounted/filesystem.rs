//! New instances of file systems.

use super::{Mounted, copy_of};
use crate::attributes::{attach, change};
use crate::failure::{At, Call, Fault, Step};
use crate::options::Param;
use crate::plan::{Fallback, Kind, MountStep};
use crate::resolve::{self, Leaf};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use std::ffi::CStr;
use std::io::Write;

/// Hands options to a file system that is being configured.
pub(super) fn configure(fs: BorrowedFd<'_>, params: &[Param]) -> Step<()> {
    let one = |Param { key, value }: &Param| match value {
        Some(value) => fsconfig_set_string(fs, key.as_c_str(), value.as_c_str()),
        None => fsconfig_set_flag(fs, key.as_c_str()),
    };
    params.iter().try_for_each(one).at(Call::FsConfig)
}

fn finish(fs: BorrowedFd<'_>, attributes: u64) -> Step<OwnedFd> {
    fsconfig_create(fs).at(Call::FsCreate)?;
    let attributes = u32::try_from(attributes).unwrap_or(0);
    let attributes = MountAttrFlags::from_bits_retain(attributes);
    fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).at(Call::FsMount)
}

/// An empty read-only directory, to cover others with.
pub(super) fn empty_directory() -> Step<OwnedFd> {
    let fs = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).at(Call::FsOpen)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    finish(fs.as_fd(), attributes.bits().into())
}

/// A tmpfs for directories of control groups.
pub(super) fn group_directory(attributes: u64) -> Step<OwnedFd> {
    let fs = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).at(Call::FsOpen)?;
    fsconfig_set_string(&fs, c"source", c"cgroup").at(Call::FsConfig)?;
    fsconfig_set_string(&fs, c"mode", c"755").at(Call::FsConfig)?;
    finish(fs.as_fd(), attributes)
}

impl Mounted<'_> {
    /// Mounts a new instance; the answer is the mount's root.
    pub(super) fn mount_new(&self, step: &MountStep) -> Step<OwnedFd> {
        let Kind::New { copy_up, old, fallback, .. } = &step.kind else {
            return Err(Fault::new(Call::FsOpen, Errno::INVAL));
        };
        let (place, there) = self.place(step, || Ok(Leaf::Directory))?;
        if let Some((data, flags)) = old {
            return self.mount_old(step, place.as_fd(), (data, *flags));
        }
        let tree = match (create(step, there.then_some(place.as_fd())), fallback) {
            (Err(fault), Some(fallback)) if forbidden(fault) => {
                return bind_instead(step, place.as_fd(), fallback);
            }
            (created, _) => created?,
        };
        if *copy_up {
            super::copy::contents(place.as_fd(), tree.as_fd()).at(Call::CopyUp)?;
        }
        attach(tree.as_fd(), place.as_fd(), &step.changes)?;
        Ok(tree)
    }

    /// For options that fsconfig(2) does not take. The working directory is the place, so that no
    /// path is walked.
    fn mount_old(
        &self,
        step: &MountStep,
        place: BorrowedFd<'_>,
        (data, flags): (&CStr, u64),
    ) -> Step<OwnedFd> {
        let Kind::New { name, source, .. } = &step.kind else {
            return Err(Fault::new(Call::Mount, Errno::INVAL));
        };
        rustix::process::fchdir(place).at(Call::Mount)?;
        let flags = MountFlags::from_bits_retain(u32::try_from(flags).unwrap_or(0));
        let mounted = rustix::mount::mount(source.as_c_str(), c".", name.as_c_str(), flags, data);
        rustix::process::chdir(c"/").at(Call::Mount)?;
        mounted.at(Call::Mount)?;
        // The way leads onto the new mount now; a way that was exchanged leads to no mount's root
        // or to one that changes as asked, inside the container in any case.
        let mount = resolve::find(self.root(), &step.place, step.links).at(Call::Resolve)?;
        step.changes.iter().try_for_each(|one| change(mount.as_fd(), one))?;
        Ok(mount)
    }
}

/// Makes an instance, to cover this directory of the image, if it has one.
fn create(step: &MountStep, covered: Option<BorrowedFd<'_>>) -> Step<OwnedFd> {
    let Kind::New { name, source, params, .. } = &step.kind else {
        return Err(Fault::new(Call::FsOpen, Errno::INVAL));
    };
    let fs = fsopen(name.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC).at(Call::FsOpen)?;
    fsconfig_set_string(&fs, c"source", source.as_c_str()).at(Call::FsConfig)?;
    configure(fs.as_fd(), params)?;
    let mode_given = params.iter().any(|param| param.key.as_bytes() == b"mode");
    if let Some(covered) = covered.filter(|_| step.is_new(b"tmpfs") && !mode_given) {
        // A tmpfs over a directory of the image has that directory's mode; another one is for
        // everybody, as the kernel makes it.
        let mode = fstat(covered).at(Call::Inspect)?.st_mode & 0o7777;
        let mut room = [0; 8];
        // Room for any mode: the write cannot fail, and a zero byte follows.
        let _ = write!(room.as_mut_slice(), "{mode:o}");
        let text = CStr::from_bytes_until_nul(&room).unwrap_or_default();
        fsconfig_set_string(&fs, c"mode", text).at(Call::FsConfig)?;
    }
    finish(fs.as_fd(), step.attributes)
}

/// The errors by which a kernel says that this user namespace may not.
fn forbidden(fault: Fault) -> bool {
    matches!(fault.errno, Errno::PERM | Errno::BUSY | Errno::ACCESS)
}

/// The host's instance in place of a new one. It stays as it is for the host, so what the
/// configuration wants of attributes holds for everything below too: a read-only /sys has no
/// writable control groups.
fn bind_instead(step: &MountStep, place: BorrowedFd<'_>, fallback: &Fallback) -> Step<OwnedFd> {
    let tree = copy_of(&fallback.source, fallback.recursive)?;
    let whole = crate::options::Change {
        recursive: fallback.recursive,
        set: step.attributes,
        clear: if step.attributes & crate::options::attr::ATIME != 0 {
            crate::options::attr::ATIME
        } else {
            0
        },
        propagation: 0,
    };
    crate::attributes::change_all(tree.as_fd(), &[whole])?;
    attach(tree.as_fd(), place, &step.changes)?;
    Ok(tree)
}
