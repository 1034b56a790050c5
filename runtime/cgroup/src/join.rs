//! Entering a group.
//!
//! A write to `cgroup.procs`, by whomever, waits until no process of the whole machine forks or
//! ends (an RCU grace period: 5 to 20 ms on an idle machine). Two ways need no such wait, and both
//! are used: a child is born in its v2 group (`clone3` with `CLONE_INTO_CGROUP`), and on v1 trees a
//! process with one thread moves itself by writing `0` to `tasks` (0.02 ms for each tree).

use crate::dir::{Dir, write_whole};
use crate::error::{Error, Result};
use crate::group::Cgroup;
use crate::layout::{Hierarchy, Membership, Version};
use crate::path::RelPath;
use crate::paths::Place;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The open files by which a process enters a group. Made by the parent; used in the child, where
/// only calls that are safe after `fork` are made, and nothing is allocated.
#[derive(Debug)]
pub struct Joiner {
    tasks: Vec<OwnedFd>,
    unified: Option<OwnedFd>,
}

impl Joiner {
    /// The directory for `clone3` with `CLONE_INTO_CGROUP`, when there is a v2 tree.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling process, which must have one thread only, into the group. With
    /// `born_inside` it was made by `clone3` with [`Joiner::clone_into`], and the v2 tree is left
    /// out.
    ///
    /// # Errors
    /// What the kernel says: `EBUSY` when a v2 group has passed controllers to groups below it,
    /// `ENOSPC` when a v1 cpuset is empty, `EOPNOTSUPP` when the group is threaded.
    pub fn join(&self, born_inside: bool) -> io::Result<()> {
        for tasks in &self.tasks {
            write_whole(tasks, "0")?;
        }
        match &self.unified {
            Some(dir) if !born_inside => {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                let procs = openat(dir, c"cgroup.procs", flags, Mode::empty())?;
                Ok(write_whole(&procs, "0")?)
            }
            _ => Ok(()),
        }
    }
}

impl Cgroup {
    /// Opens what a child needs to enter the group.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn joiner(&self) -> Result<Joiner> {
        let tasks = self.paths.places.iter().filter(|p| p.version == Version::V1).map(tasks);
        Ok(Joiner { tasks: tasks.collect::<Result<_>>()?, unified: self.v2_fd()? })
    }

    /// Opens what a further process of the container (`exec`) needs to enter the group in which
    /// process `init` is. A container that runs its own groups has moved its processes below the
    /// group it was started in, which then takes none.
    ///
    /// # Errors
    /// When the process is gone, or a file cannot be opened.
    pub fn joiner_beside(&self, init: u32) -> Result<Joiner> {
        let mut joiner = self.joiner()?;
        let Some(place) = self.paths.v2() else { return Ok(joiner) };
        let own = Membership::of(&init.to_string())?;
        let tree = Hierarchy {
            mount: place.mount.clone(),
            root: "/".into(),
            controllers: Vec::new(),
            version: Version::V2,
        };
        if let Some(path) = own.below(&tree)?
            && path != place.path
            && path.as_str().strip_prefix(place.path.as_str()).is_some_and(|p| p.starts_with('/'))
        {
            joiner.unified = Some(Dir::open(&place.mount.join(path.as_str()))?.into_fd());
        }
        Ok(joiner)
    }

    /// Opens what a process needs to enter groups below this one: `path` in every tree, or
    /// `controller[,controller...]:path` in those of version 1. Trees that no wish names are entered
    /// at the group itself, and so are all by `/`.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) for a path that leads out or an unknown controller; a group is not there.
    pub fn joiner_below(&self, wishes: &[String]) -> Result<Joiner> {
        let mut paths = self.paths.clone();
        for wish in wishes.iter().filter(|wish| *wish != "/") {
            if paths.is_none() {
                return Err(Error::invalid(
                    format_args!("{wish:?}"),
                    "the container has no control group",
                ));
            }
            let subject = || format!("{wish:?}");
            let (names, path) = wish.split_once(':').map_or(("", wish.as_str()), |(n, p)| (n, p));
            let path = RelPath::parse(path)
                .map_err(|_| Error::invalid(subject(), "bad sub cgroup path: it leads out"))?;
            let known = |name: &&str| paths.v1(name).is_none();
            if let Some(name) = names.split(',').filter(|name| !name.is_empty()).find(known) {
                return Err(Error::invalid(subject(), format_args!("unknown controller {name}")));
            }
            let hybrid = paths.v2().is_some() && paths.places.len() > 1;
            for (place, own) in paths.places.iter_mut().zip(&self.paths.places) {
                let below = own.path.join(&path);
                // A tree without controllers need not have the groups of the others.
                let spare = hybrid && place.version == Version::V2;
                let there = !spare || place.mount.join(below.as_str()).exists();
                if there && (names.is_empty() || names.split(',').any(|name| place.has(name))) {
                    place.path = below;
                }
            }
        }
        Self::load(paths).joiner()
    }

    /// Moves another process, with all its threads, into the group. Slow (see the head of this
    /// module); for processes that this program did not start.
    ///
    /// # Errors
    /// What the kernel says; `ESRCH` when the process has ended.
    pub fn add(&self, pid: u32) -> Result<()> {
        let one = |place: &Place| Dir::open(&place.dir())?.write("cgroup.procs", &pid.to_string());
        self.paths.places.iter().try_for_each(one)
    }
}

fn tasks(place: &Place) -> Result<OwnedFd> {
    let path = place.dir().join("tasks");
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        match openat(rustix::fs::CWD, &path, flags, Mode::empty()) {
            Ok(fd) => return Ok(fd),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::io(&path, "open", e)),
        }
    }
}
