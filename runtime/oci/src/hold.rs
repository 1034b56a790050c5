//! Namespaces without a container: made for a pod, to be pinned and then joined by its containers.

use crate::launch::Child;
use crate::namespace::{self, Namespaces};
use crate::sync::{self, At, Fault, Step, Word};
use crate::{Error, Result, child, explain, mapping, sys, sysctl};
use runtime_spec::{IdMapping, NamespaceKind};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Namespaces to make.
#[derive(Clone, Debug, Default)]
pub struct NewNamespaces {
    /// Which kinds. A user namespace owns the others. A PID or mount namespace needs a process that
    /// stays, so a container makes them.
    pub kinds: Vec<NamespaceKind>,
    /// Users of a user namespace.
    pub uids: Vec<IdMapping>,
    /// Groups of a user namespace.
    pub gids: Vec<IdMapping>,
    /// Name of the host in a UTS namespace.
    pub hostname: Option<String>,
}

/// Namespaces that last until this is dropped, or longer where they are pinned.
#[derive(Debug)]
pub struct HeldNamespaces {
    kinds: Vec<NamespaceKind>,
    child: Child,
}

impl NewNamespaces {
    /// Makes them. The loopback link of a network namespace is up.
    ///
    /// # Errors
    /// A kind that cannot be made here, or the kernel refused.
    pub fn make(&self) -> Result<HeldNamespaces> {
        let new = self.flags()?;
        let user = new & sys::NEWUSER != 0;
        let fail = |errno| Error::errno("namespaces", "socketpair", errno);
        let (mine, theirs) = sync::pair().map_err(fail)?;
        let spawned = sys::spawn(new, None, &mut || {
            sys::forsake(mine.as_fd());
            match self.settle(theirs.as_fd(), user) {
                // Until its maker ends it.
                Ok(()) => i32::from(sync::wait(theirs.as_fd()).is_err()),
                Err(fault) => child::report(theirs.as_fd(), fault),
            }
        });
        let spawned = spawned.at(Step::Clone).map_err(explain::namespaces)?;
        drop(theirs);
        let child = Child::new(spawned, mine);
        if user {
            mapping::write(child.pid, &self.uids, &self.gids)?;
            child.go()?;
        }
        while !matches!(child.hear(explain::namespaces)?, (Word::Ready, _)) {}
        Ok(HeldNamespaces { kinds: self.kinds.clone(), child })
    }

    fn flags(&self) -> Result<u64> {
        let possible = [
            NamespaceKind::Network,
            NamespaceKind::Ipc,
            NamespaceKind::Uts,
            NamespaceKind::User,
            NamespaceKind::Cgroup,
        ];
        if let Some(kind) = self.kinds.iter().find(|kind| !possible.contains(kind)) {
            return Err(Error::invalid(kind.name(), "such a namespace needs a process that stays"));
        }
        Ok(self.kinds.iter().fold(0, |flags, kind| flags | namespace::flag(*kind)))
    }

    /// In the process that holds them.
    fn settle(
        &self,
        parent: rustix::fd::BorrowedFd<'_>,
        user: bool,
    ) -> std::result::Result<(), Fault> {
        if user {
            sync::wait(parent)?;
            sys::set_gid(0).at(Step::Identity)?;
            sys::set_uid(0).at(Step::Identity)?;
        }
        if self.kinds.contains(&NamespaceKind::Network) {
            sys::loopback_up().at(Step::Loopback)?;
        }
        if let Some(name) = &self.hostname {
            sys::set_host_name(name.as_bytes()).at(Step::HostName)?;
        }
        sync::say(parent, Word::Ready).at(Step::Sync)
    }
}

impl HeldNamespaces {
    /// Each kind, and the file by which it can be pinned or joined meanwhile.
    pub fn files(&self) -> impl Iterator<Item = (NamespaceKind, PathBuf)> {
        let pid = self.child.pid;
        let file = move |kind: &NamespaceKind| {
            (*kind, PathBuf::from(format!("/proc/{pid}/ns/{}", namespace::file(*kind))))
        };
        self.kinds.iter().map(file)
    }
}

/// Sets kernel parameters in namespaces given by path, with the caller's rights.
///
/// # Errors
/// A parameter is of no namespace given, so it would be the host's; or the kernel refused it.
pub fn set_sysctls(
    namespaces: &[(NamespaceKind, &Path)],
    sysctls: &BTreeMap<String, String>,
) -> Result<()> {
    let is_user = |kind: NamespaceKind| kind == NamespaceKind::User;
    let user = namespaces.iter().find(|(kind, _)| is_user(*kind));
    let user = user.map(|(kind, path)| namespace::open(*kind, path)).transpose()?;
    let joined = namespaces.iter().filter(|(kind, _)| !is_user(*kind));
    let joined = joined.map(|(kind, path)| (*kind, (*path).to_owned())).collect();
    let namespaces = Namespaces { new: 0, joined };
    let entries = sysctl::plan(sysctls, &namespaces)?;
    if entries.is_empty() {
        return Ok(());
    }
    let joins = namespaces.open()?;
    let mut done = Ok(());
    sys::aside(&mut || {
        let joined = namespace::enter(&joins, sys::NEWTIME)
            .map_err(|(index, errno)| Fault::Step(Step::Join, index, errno));
        let mut user = user.as_ref();
        done = joined.and_then(|()| {
            entries.iter().enumerate().try_for_each(|(index, (path, value))| {
                let mut written = write(path, value);
                // What a user namespace owns may be its root's alone to set.
                if matches!(written, Err(Errno::PERM | Errno::ACCESS))
                    && let Some(join) = user.take()
                {
                    namespace::enter(std::slice::from_ref(join), 0)
                        .map_err(|(_, errno)| errno)
                        .at(Step::Join)?;
                    written = write(path, value);
                }
                written.nth(Step::Sysctl, index)
            })
        });
        0
    })
    .at(Step::Clone)
    .map_err(explain::namespaces)?;
    done.map_err(|fault| match fault {
        Fault::Step(Step::Sysctl, index, errno) => {
            let name = sysctls.keys().nth(index as usize).cloned().unwrap_or_default();
            Error::errno(format!("sysctl {name}"), "write", errno)
        }
        other => explain::namespaces(other),
    })
}

/// Allocates nothing.
fn write(path: &std::ffi::CStr, value: &[u8]) -> rustix::io::Result<()> {
    use rustix::fs::{CWD, Mode, OFlags};
    let flags = OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::PATH;
    let proc = rustix::fs::openat(CWD, c"/proc", flags, Mode::empty())?;
    let file = rustix::fs::openat(&proc, path, OFlags::CLOEXEC | OFlags::WRONLY, Mode::empty())?;
    rustix::io::write(&file, value).map(drop)
}
