//! The files and links in `/dev`.

use super::{Mounted, copy_of};
use crate::attributes::attach;
use crate::failure::{At, Call, During, Failure, Fault, Stage, Step};
use crate::plan::{Device, Link};
use crate::resolve::{self, Leaf, Links};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, mknodat, openat,
    readlinkat_raw, statat, symlinkat, unlinkat,
};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use std::ffi::CStr;
use std::mem::MaybeUninit;

impl Mounted<'_> {
    pub(super) fn make_devices(&self) -> Result<(), Failure> {
        let mut last: Option<(&CStr, OwnedFd)> = None;
        for (index, device) in self.plan.devices.iter().enumerate() {
            let folder = match last {
                Some((path, folder)) if path == device.parent.as_c_str() => folder,
                _ => self.folder(&device.parent).during(Stage::Device, index)?,
            };
            self.make_device(index, device, folder.as_fd()).during(Stage::Device, index)?;
            last = Some((&device.parent, folder));
        }
        Ok(())
    }

    /// The directory of a device, made if it is missing; `/dev` itself is never behind a link.
    fn folder(&self, path: &CStr) -> Step<OwnedFd> {
        let links = if path == c"dev" { Links::Refused } else { Links::Inside };
        let folder = match resolve::find(self.root(), path, links) {
            Err(Errno::NOENT) => {
                resolve::make(self.root(), path, Leaf::Directory, links).at(Call::Create)?
            }
            found => found.at(Call::Resolve)?,
        };
        match crate::proc::is_procfs(folder.as_fd()).at(Call::Inspect)? {
            true => Err(Fault::new(Call::OnProc, Errno::ACCESS)),
            false => Ok(folder),
        }
    }

    fn make_device(&self, index: usize, device: &Device, folder: BorrowedFd<'_>) -> Step<()> {
        let bound = self.plan.user_namespace && device.kind != FileType::Fifo;
        if bound {
            return self.bind_device(index, device, folder);
        }
        match node(device, folder) {
            Err(Errno::PERM) if device.kind != FileType::Fifo => {
                self.bind_device(index, device, folder)
            }
            Err(Errno::EXIST) => replace(device, folder),
            other => other.at(Call::MakeNode),
        }
    }

    /// The host's file in place of one of our own: user namespaces make no device files.
    fn bind_device(&self, index: usize, device: &Device, folder: BorrowedFd<'_>) -> Step<()> {
        let tree = match self.prepared.devices.get(index).and_then(Option::as_ref) {
            Some(tree) => fcntl_dupfd_cloexec(tree, 0).at(Call::OpenTree)?,
            None => copy_of(&device.host, false)?,
        };
        if !is_device(device, &fstat(&tree).at(Call::Inspect)?) {
            return Err(Fault::new(Call::Identity, Errno::NXIO));
        }
        let name = device.name.as_c_str();
        let place = match empty_file(folder, name) {
            Err(Errno::EXIST) => match resolve::child(folder, name) {
                Err(Errno::LOOP) if device.default => {
                    unlinkat(folder, name, AtFlags::empty()).at(Call::Remove)?;
                    empty_file(folder, name).at(Call::Create)?
                }
                found => found.at(Call::Resolve)?,
            },
            made => made.at(Call::Create)?,
        };
        attach(tree.as_fd(), place.as_fd(), &[])
    }

    pub(super) fn make_links(&self) -> Result<(), Failure> {
        if self.plan.links.is_empty() {
            return Ok(());
        }
        let folder = self.folder(c"dev").during(Stage::Link, 0)?;
        for (index, link) in self.plan.links.iter().enumerate() {
            make_link(link, folder.as_fd()).during(Stage::Link, index)?;
        }
        Ok(())
    }
}

/// A new empty file, to bind over.
pub(super) fn empty_file(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::from_raw_mode(0o666))
}

fn node(device: &Device, folder: BorrowedFd<'_>) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(device.mode);
    mknodat(folder, device.name.as_c_str(), device.kind, mode, device.number)?;
    if device.owner == (0, 0) {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(device.owner.0), Gid::from_raw(device.owner.1));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    chownat(folder, device.name.as_c_str(), Some(user), Some(group), flags)
}

/// Deals with what the image has in a device's place: the device itself stays or is made anew with
/// the right mode; for a default device anything that can be removed gives way; for others the
/// specification wants an error.
fn replace(device: &Device, folder: BorrowedFd<'_>) -> Step<()> {
    let name = device.name.as_c_str();
    let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).at(Call::Inspect)?;
    let same = is_device(device, &found);
    if same && found.st_mode & 0o7777 == device.mode && owner(&found) == device.owner {
        return Ok(());
    }
    let directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    if !same && (directory || !device.default) {
        return Err(Fault::new(Call::Identity, Errno::EXIST));
    }
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) => node(device, folder).at(Call::MakeNode),
        // The right device, bound there by a mount of the configuration.
        Err(Errno::BUSY) if same => Ok(()),
        Err(errno) => Err(Fault::new(Call::Remove, errno)),
    }
}

fn owner(stat: &Stat) -> (u32, u32) {
    (stat.st_uid, stat.st_gid)
}

fn is_device(device: &Device, stat: &Stat) -> bool {
    let kind = FileType::from_raw_mode(stat.st_mode);
    kind == device.kind && (kind == FileType::Fifo || stat.st_rdev == device.number)
}

fn make_link(link: &Link, folder: BorrowedFd<'_>) -> Step<()> {
    let (name, target) = (link.name.as_c_str(), link.target.as_c_str());
    match symlinkat(target, folder, name) {
        Err(Errno::EXIST) if !link.replace || points_to(folder, name, target) => Ok(()),
        Err(Errno::EXIST) => {
            unlinkat(folder, name, AtFlags::empty()).at(Call::Remove)?;
            symlinkat(target, folder, name).at(Call::MakeLink)
        }
        other => other.at(Call::MakeLink),
    }
}

fn points_to(folder: BorrowedFd<'_>, name: &CStr, target: &CStr) -> bool {
    let mut room = [MaybeUninit::<u8>::uninit(); 256];
    let found = readlinkat_raw(folder, name, &mut room[..]);
    found.is_ok_and(|(found, _)| &*found == target.to_bytes())
}
