//! What the parent does with the host's rights and in the host's namespaces.

use crate::attributes::change_all;
use crate::options::{Change, attr};
use crate::plan::{Device, Kind, MountStep, Plan};
use crate::{Error, sys, userns};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::cell::OnceCell;
use std::ffi::{CStr, CString};

/// Descriptors that the child inherits, all closed on exec, and room for those it opens. Empty
/// where the child can do everything itself.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) root: Option<OwnedFd>,
    /// Number of the root's mount, if the host will see it.
    pub(crate) cover: Option<u64>,
    pub(crate) mounts: Vec<Option<OwnedFd>>,
    pub(crate) devices: Vec<Option<OwnedFd>>,
    /// Mounts to become read-only at the end, by their number.
    pub(crate) sealed: Vec<OnceCell<OwnedFd>>,
    /// The procfs at `/proc`.
    pub(crate) proc: OnceCell<OwnedFd>,
    /// Places of procfs and sysfs on the host, which chroot(2) would leave within reach.
    pub(crate) leftovers: Vec<CString>,
}

impl Plan {
    /// Opens in the parent, before the child is made, what the child may not be able to: sources
    /// behind directories that its user namespace cannot enter, idmapped sources, sources that
    /// stay tied to the host's mounts. A parent without the right to copy mounts leaves them to
    /// the child, whose rights are the same then.
    ///
    /// # Errors
    /// A source is missing, or an ID mapping is refused.
    pub fn prepare(&self) -> Result<Prepared, Error> {
        let spaces: Vec<OwnedFd> =
            self.id_maps.iter().map(userns::open_for).collect::<Result<_, _>>()?;
        let ahead = self.covers || self.own_mounts && (self.user_namespace || self.shared());
        let mut prepared = Prepared {
            root: None,
            cover: None,
            mounts: Vec::with_capacity(self.mounts.len()),
            devices: Vec::with_capacity(self.devices.len()),
            sealed: self.mounts.iter().map(|_| OnceCell::new()).collect(),
            proc: OnceCell::new(),
            leftovers: if self.no_pivot && self.own_mounts { leftovers()? } else { Vec::new() },
        };
        if ahead {
            let subject = || format!("root.path: {}", self.root.to_string_lossy());
            prepared.root = self.tree((&self.root, true, false), &subject)?;
            prepared.cover = self.prepare_cover(prepared.root.as_ref())?;
        }
        for step in &self.mounts {
            prepared.mounts.push(self.prepare_mount(step, &spaces, ahead)?);
        }
        for device in &self.devices {
            let ahead = ahead && self.user_namespace && device.kind != FileType::Fifo;
            prepared.devices.push(if ahead { self.prepare_device(device)? } else { None });
        }
        Ok(prepared)
    }

    fn prepare_mount(
        &self,
        step: &MountStep,
        spaces: &[OwnedFd],
        ahead: bool,
    ) -> Result<Option<OwnedFd>, Error> {
        let Kind::Bind { source, inside, recursive, id_map } = &step.kind else {
            return Ok(None);
        };
        if inside.is_some() || !ahead && id_map.is_none() {
            return Ok(None);
        }
        let subject = || step.subject.clone();
        let tree = self.tree((source, *recursive, self.shared()), &subject)?;
        let space = id_map.and_then(|(index, deep)| Some((spaces.get(index)?, deep)));
        let tree = match (tree, space) {
            (Some(tree), Some((space, recursive))) => {
                let change = Change { recursive, set: attr::IDMAP, ..Change::default() };
                sys::set_attributes(tree.as_fd(), &change, Some(space.as_fd())).map_err(
                    |errno| {
                        let what = format!("{} cannot be idmapped", source.to_string_lossy());
                        Error::kernel(subject(), &what, errno).with_hint(
                            "its file system must support idmapped mounts and not be one already",
                        )
                    },
                )?;
                tree
            }
            (Some(tree), None) => tree,
            (None, Some(_)) => {
                let what = "idmapped mounts need rights over the host's mounts";
                return Err(Error::kernel(subject(), what, Errno::PERM));
            }
            (None, None) => return Ok(None),
        };
        change_all(tree.as_fd(), &step.changes)
            .map_err(|fault| Error::kernel(subject(), "mount_setattr", fault.errno))?;
        Ok(Some(tree))
    }

    fn prepare_device(&self, device: &Device) -> Result<Option<OwnedFd>, Error> {
        let subject = || format!("device {}", device.host.to_string_lossy());
        self.tree((&device.host, false, false), &subject)
    }

    /// A detached copy of a source, with the mounts below if `recursive`, and if `tied` still in
    /// the peer groups of the host's mounts; `None` when only the child can make it.
    fn tree(
        &self,
        (source, recursive, tied): (&CStr, bool, bool),
        subject: &dyn Fn() -> String,
    ) -> Result<Option<OwnedFd>, Error> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
        let tree = match open_tree(CWD, source, flags) {
            Ok(tree) => tree,
            Err(Errno::PERM) => return Ok(None),
            Err(errno) => {
                let what = format!("source {}", source.to_string_lossy());
                return Err(Error::kernel(subject(), &what, errno));
            }
        };
        let propagation = self.first_propagation;
        let change = Change { recursive: true, propagation, ..Change::default() };
        match if tied { Ok(()) } else { change_all(tree.as_fd(), &[change]) } {
            Ok(()) => Ok(Some(tree)),
            Err(fault) if fault.errno == Errno::NOSYS => Ok(None),
            Err(fault) => Err(Error::kernel(subject(), "mount_setattr", fault.errno)),
        }
    }
}

/// Where whole procfs and sysfs instances are mounted on the host.
fn leftovers() -> Result<Vec<CString>, Error> {
    let path = "/proc/self/mountinfo";
    let text = std::fs::read(path).map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
        Error::kernel(path, "cannot be read", errno)
    })?;
    Ok(text.split(|&byte| byte == b'\n').filter_map(leftover).collect())
}

/// The mount point of one line of mountinfo, if it is such an instance.
fn leftover(line: &[u8]) -> Option<CString> {
    let mut words = line.split(|&byte| byte == b' ');
    let (root, place) = (words.nth(3)?, words.next()?);
    let kind = words.skip_while(|word| *word != b"-").nth(1)?;
    let whole = root == b"/" && (kind == b"proc" || kind == b"sysfs");
    whole.then(|| CString::new(unescape(place)).ok())?
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| first == b'\\');
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(value.unwrap_or(first));
        rest = if value.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    plain
}
