//! Which namespaces a container gets: made new, joined by path, or its caller's.

use crate::sys;
use crate::{Error, Result};
use runtime_spec::{NamespaceKind as Kind, Spec};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};

/// The namespaces of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespaces {
    /// Made new, as flags of clone3(2).
    pub(crate) new: u64,
    /// Joined, by path.
    pub(crate) joined: Vec<(Kind, PathBuf)>,
}

/// The flag of clone3(2) and setns(2).
pub(crate) fn flag(kind: Kind) -> u64 {
    match kind {
        Kind::Pid => sys::NEWPID,
        Kind::Network => sys::NEWNET,
        Kind::Mount => sys::NEWNS,
        Kind::Ipc => sys::NEWIPC,
        Kind::Uts => sys::NEWUTS,
        Kind::User => sys::NEWUSER,
        Kind::Cgroup => sys::NEWCGROUP,
        Kind::Time => sys::NEWTIME,
    }
}

/// The name in `/proc/PID/ns`.
pub(crate) fn file(kind: Kind) -> &'static str {
    match kind {
        Kind::Network => "net",
        Kind::Mount => "mnt",
        other => other.name(),
    }
}

impl Namespaces {
    /// Reads `linux.namespaces`.
    pub(crate) fn new(spec: &Spec) -> Result<Namespaces> {
        let mut found = Namespaces::default();
        let mut seen = 0;
        let list = spec.linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
        for (index, wire) in list.iter().enumerate() {
            let subject = || format!("linux.namespaces[{index}]");
            if seen & flag(wire.kind) != 0 {
                return Err(Error::invalid(
                    subject(),
                    format!("{} is listed twice", wire.kind.name()),
                ));
            }
            seen |= flag(wire.kind);
            match &wire.path {
                Some(path) if !path.as_os_str().is_empty() => {
                    if !path.is_absolute() {
                        return Err(Error::invalid(subject(), "its path must be absolute"));
                    }
                    found.joined.push((wire.kind, path.clone()));
                }
                _ => found.new |= flag(wire.kind),
            }
        }
        Ok(found)
    }

    /// Whether the container has its own namespace of this kind, or one that it was given.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.is_new(kind) || self.joins(kind)
    }

    pub(crate) fn is_new(&self, kind: Kind) -> bool {
        self.new & flag(kind) != 0
    }

    pub(crate) fn joins(&self, kind: Kind) -> bool {
        self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// Opens those to join, and sees that each is of its kind.
    pub(crate) fn open(&self) -> Result<Vec<Join>> {
        self.joined.iter().map(|(kind, path)| open(*kind, path)).collect()
    }
}

/// A namespace that is open, to be joined.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) kind: u64,
    pub(crate) fd: OwnedFd,
}

/// Opens one namespace.
pub(crate) fn open(kind: Kind, path: &Path) -> Result<Join> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let subject = || format!("{} namespace {}", kind.name(), path.display());
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Error::errno(subject(), "open", errno))?;
    match sys::namespace_kind(&fd) {
        Ok(found) if found == flag(kind) => Ok(Join { kind: found, fd }),
        Ok(_) => Err(Error::invalid(subject(), "is a namespace of another kind")),
        Err(_) => Err(Error::invalid(subject(), "is no namespace")),
    }
}

/// Joins those of the kinds that are left to the process itself, which shares its memory with nobody.
pub(crate) fn enter_later(
    joins: &[Join],
    later: u64,
) -> std::result::Result<(), (u32, rustix::io::Errno)> {
    for (index, join) in joins.iter().enumerate().filter(|(_, join)| join.kind & later != 0) {
        sys::join(&join.fd, join.kind).map_err(|errno| (index as u32, errno))?;
    }
    Ok(())
}

/// Joins all but the kinds for later: first what the present privileges allow, then the user
/// namespace, then the rest with the privileges there. Runs in a process of its own. The index of a
/// failure is that of the list.
pub(crate) fn enter(
    joins: &[Join],
    later: u64,
) -> std::result::Result<(), (u32, rustix::io::Errno)> {
    let user = joins.iter().position(|join| join.kind == sys::NEWUSER);
    let mut left = 0_u64;
    let now = |(index, join): &(usize, &Join)| Some(*index) != user && join.kind & later == 0;
    for (index, join) in joins.iter().enumerate().filter(now) {
        match sys::join(&join.fd, join.kind) {
            Err(rustix::io::Errno::PERM) if user.is_some() => left |= 1 << (index & 63),
            other => other.map_err(|errno| (index as u32, errno))?,
        }
    }
    let Some(user) = user else { return Ok(()) };
    let fail = |errno| (user as u32, errno);
    sys::join(&joins[user].fd, sys::NEWUSER).map_err(fail)?;
    // Root there owns what is made next; where it has no root, the privileges of joining are left.
    let _ = sys::set_groups(&[]);
    let _ = sys::set_gid(0);
    let _ = sys::set_uid(0);
    for (index, join) in
        joins.iter().enumerate().filter(|(index, _)| left & (1 << (index & 63)) != 0)
    {
        sys::join(&join.fd, join.kind).map_err(|errno| (index as u32, errno))?;
    }
    Ok(())
}
