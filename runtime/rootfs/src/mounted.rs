//! The child's part: a plan becomes mounts. System calls only, nothing is allocated.

mod bind;
mod console;
mod copy;
mod device;
mod filesystem;
mod hide;
mod legacy;

use crate::attributes::change;
use crate::failure::{At, Call, During, Failure, Fault, Stage, Step};
use crate::options::{Change, attr};
use crate::plan::{Kind, MountStep, Plan};
use crate::prepare::Prepared;
use crate::proc::{ProcHandle, is_procfs};
use crate::resolve::{self, Leaf};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount,
    open_tree, unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root, umask};
use std::ffi::CStr;

/// A container's root with everything mounted in it, seen from the container's first process.
/// Until [`Mounted::pivot`] the host's files are still in reach, as hooks need them.
#[derive(Debug)]
pub struct Mounted<'a> {
    plan: &'a Plan,
    prepared: &'a Prepared,
    root: OwnedFd,
}

impl Plan {
    /// Mounts the root and everything in it, and makes the devices. For a child that is alone in
    /// its mount namespace, unless the container has none, and already in its other ones, its control group namespace included;
    /// with all rights over the mount namespace. The working directory may change.
    ///
    /// # Errors
    /// The first step that failed; the mounts go away with the namespace, or by
    /// [`uncover`](crate::uncover).
    pub fn mount<'a>(&'a self, prepared: &'a Prepared) -> Result<Mounted<'a>, Failure> {
        // Modes of devices and directories are exact, whatever the caller's mask.
        let mask = umask(Mode::empty());
        let mounted = self.mount_all(prepared);
        umask(mask);
        mounted
    }

    fn mount_all<'a>(&'a self, prepared: &'a Prepared) -> Result<Mounted<'a>, Failure> {
        let root = self.mount_root(prepared)?;
        let mounted = Mounted { plan: self, prepared, root };
        for (index, step) in self.mounts.iter().enumerate() {
            mounted.mount_one(index, step).during(Stage::Mount, index)?;
        }
        mounted.make_devices()?;
        mounted.make_links()?;
        Ok(mounted)
    }

    fn mount_root(&self, prepared: &Prepared) -> Result<OwnedFd, Failure> {
        let path = self.root.as_c_str();
        if !self.mounts_root() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            return open(path, flags, Mode::empty()).at(Call::OpenTree).during(Stage::Root, 0);
        }
        if self.covers {
            return cover_root(path, prepared.root.as_ref()).during(Stage::Root, 0);
        }
        let kind = u32::try_from(self.first_propagation).unwrap_or(libc::MS_SLAVE as u32);
        let kind = MountPropagationFlags::from_bits_retain(kind) | MountPropagationFlags::REC;
        mount_change(c"/", kind).at(Call::Mount).during(Stage::Propagation, 0)?;
        attach_root(path, prepared.root.as_ref()).during(Stage::Root, 0)
    }
}

/// Mounts the root over its own directory, where hooks look for it; over `/` when the user
/// namespace cannot enter the way there.
fn attach_root(path: &CStr, ready: Option<&OwnedFd>) -> Step<OwnedFd> {
    let tree = match ready {
        Some(tree) => rustix::io::fcntl_dupfd_cloexec(tree, 0).at(Call::OpenTree)?,
        None => copy_of(path, true)?,
    };
    let to =
        |path: &CStr| move_mount(&tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    match to(path) {
        Err(Errno::ACCESS) => to(c"/").at(Call::MoveMount)?,
        other => other.at(Call::MoveMount)?,
    }
    Ok(tree)
}

/// Mounts the root over its own directory among the host's mounts. Where those are shared it has
/// become so as well, and must not be: what is mounted below is nobody else's.
fn cover_root(path: &CStr, ready: Option<&OwnedFd>) -> Step<OwnedFd> {
    let ready = ready.ok_or(Fault::new(Call::OpenTree, Errno::PERM))?;
    let tree = rustix::io::fcntl_dupfd_cloexec(ready, 0).at(Call::OpenTree)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&tree, c"", CWD, path, flags).at(Call::MoveMount)?;
    let propagation = libc::MS_PRIVATE;
    change(tree.as_fd(), &Change { recursive: true, propagation, ..Change::default() })?;
    Ok(tree)
}

/// A detached copy of what is at a path of the host.
fn copy_of(path: &CStr, recursive: bool) -> Step<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(CWD, path, flags).at(Call::OpenTree)
}

/// A detached copy of what is open.
fn copy_of_open(fd: BorrowedFd<'_>, recursive: bool) -> Step<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags |= OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(fd, c"", flags).at(Call::OpenTree)
}

impl Mounted<'_> {
    /// The container's root directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn mount_one(&self, index: usize, step: &MountStep) -> Step<()> {
        let mount = match &step.kind {
            Kind::Bind { .. } => self.bind(index, step)?,
            Kind::New { .. } => self.mount_new(step)?,
            Kind::Legacy(hierarchies) => self.mount_legacy(step, hierarchies)?,
            Kind::Again { params } => self.mount_again(step, params)?,
        };
        if let Some(room) = self.prepared.sealed.get(index).filter(|_| step.seal) {
            // Each step is done once: the room is empty.
            let _ = room.set(mount);
        } else if step.is_new(b"proc") && step.place.as_bytes() == b"proc" {
            let _ = self.prepared.proc.set(mount);
        }
        Ok(())
    }

    /// The place of a mount, made if it is missing; and whether it was there.
    fn place(&self, step: &MountStep, leaf: impl FnOnce() -> Step<Leaf>) -> Step<(OwnedFd, bool)> {
        let found = resolve::find(self.root(), &step.place, step.links);
        let there = !matches!(found, Err(Errno::NOENT));
        let place = match found {
            Err(Errno::NOENT) => {
                let leaf = leaf()?;
                resolve::make(self.root(), &step.place, leaf, step.links).at(Call::Create)?
            }
            found => found.at(Call::Resolve)?,
        };
        if !step.on_proc && is_procfs(place.as_fd()).at(Call::Inspect)? {
            return Err(Fault::new(Call::OnProc, Errno::ACCESS));
        }
        Ok((place, there))
    }

    /// The procfs to write kernel parameters and labels through: the container's own, as it was
    /// mounted, or a private one.
    ///
    /// # Errors
    /// There is no procfs to be had.
    pub fn proc(&self) -> Result<ProcHandle, Failure> {
        let own =
            self.prepared.proc.get().map(|root| {
                rustix::io::fcntl_dupfd_cloexec(root, 0).and_then(ProcHandle::verified)
            });
        own.unwrap_or_else(ProcHandle::open).at(Call::OpenTree).during(Stage::Proc, 0)
    }

    /// Makes the container's root the root, and the host's files unreachable. Afterwards the
    /// working directory is `/`.
    ///
    /// # Errors
    /// The kernel's; `INVAL` of pivot_root(2) on hosts that run from an initramfs.
    pub fn pivot(&mut self) -> Result<(), Failure> {
        self.change_root().during(Stage::Pivot, 0)
    }

    fn change_root(&self) -> Step<()> {
        fchdir(&self.root).at(Call::ChangeRoot)?;
        if self.plan.own_mounts && !self.plan.no_pivot {
            // The old root lands on the new one, and "." finds it there.
            pivot_root(c".", c".").at(Call::PivotRoot)?;
            unmount(c".", UnmountFlags::DETACH).at(Call::Unmount)?;
        } else {
            if self.plan.own_mounts {
                self.cover_leftovers()?;
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                move_mount(&self.root, c"", CWD, c"/", flags).at(Call::MoveMount)?;
            }
            chroot(c".").at(Call::ChangeRoot)?;
        }
        chdir(c"/").at(Call::ChangeRoot)
    }

    /// chroot(2) leaves the host's mounts in the namespace: a process that can mount could find a
    /// whole procfs or sysfs there.
    fn cover_leftovers(&self) -> Step<()> {
        for place in &self.prepared.leftovers {
            match unmount(place.as_c_str(), UnmountFlags::DETACH) {
                Ok(()) | Err(Errno::NOENT) => (),
                Err(_) => {
                    let cover = filesystem::empty_directory()?;
                    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                    move_mount(&cover, c"", CWD, place.as_c_str(), flags).at(Call::MoveMount)?;
                }
            }
        }
        Ok(())
    }

    /// Hides masked paths, makes the read-only ones so, and at last the root and what else asked
    /// for it. Kernel parameters must be written and the console bound before.
    ///
    /// # Errors
    /// The first step that failed.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.mask_paths()?;
        self.make_paths_read_only()?;
        let read_only = Change { set: attr::RDONLY, ..Change::default() };
        for (index, mount) in self.prepared.sealed.iter().enumerate() {
            if let Some(mount) = mount.get() {
                change(mount.as_fd(), &read_only).during(Stage::Seal, index)?;
            }
        }
        if self.plan.root_read_only {
            change(self.root(), &read_only).during(Stage::SealRoot, 0)?;
        }
        if let Some((propagation, recursive)) = self.plan.last_propagation {
            let last = Change { propagation, recursive, ..Change::default() };
            change(self.root(), &last).during(Stage::SealRoot, 0)?;
        }
        Ok(())
    }
}
