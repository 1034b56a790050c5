//! Being told when the kernel killed for lack of memory.

use crate::dir::Dir;
use crate::error::{Error, Kind, Result};
use crate::group::Cgroup;
use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A watch on a group's memory: a descriptor to wait on, and the count to read then.
#[derive(Debug)]
pub struct OomWatch {
    ready: OwnedFd,
    interest: PollFlags,
    dir: Dir,
    file: &'static str,
    seen: Cell<u64>,
}

impl OomWatch {
    /// What to wait for on the descriptor: `POLLPRI` on v2, `POLLIN` on v1.
    pub fn interest(&self) -> PollFlags {
        self.interest
    }

    /// Whether the group ran out of memory since this was last asked; then makes the descriptor
    /// quiet until it happens again. `None` when the group is gone. v1 tells just before the kernel
    /// kills, v2 after: how many were killed is told by [`Cgroup::oom_kills`] once a process ended.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn take(&self) -> Result<Option<bool>> {
        let fail = |e| Error::io(&self.dir.path().join(self.file), "read", e);
        if self.interest == PollFlags::IN {
            // A group's removal is signalled as well.
            let told = match rustix::io::read(&self.ready, &mut [0u8; 8]) {
                Ok(_) => true,
                Err(Errno::AGAIN) => false,
                Err(e) => return Err(fail(e)),
            };
            return Ok(self.dir.try_read(self.file)?.map(|_| told));
        }
        match crate::dir::read_whole(&self.ready) {
            Ok(text) => {
                let now = killed(&text).unwrap_or(0);
                Ok(Some(self.seen.replace(now) < now))
            }
            Err(Errno::NODEV) => Ok(None),
            Err(e) => Err(fail(e)),
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

fn killed(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|l| l.strip_prefix("oom_kill "))?;
    value.trim().parse().ok()
}

impl Cgroup {
    /// Watches for processes killed for lack of memory.
    ///
    /// # Errors
    /// [`Kind::ControllerMissing`] without the memory controller.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        if let Some(place) = self.paths.v1("memory") {
            let dir = Dir::open(&place.dir())?;
            let fail = |verb, e| Error::io(dir.path(), verb, e);
            let ready = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(|e| fail("eventfd", e))?;
            let file = "memory.oom_control";
            let control = dir.file(file, OFlags::RDONLY).map_err(|e| fail("open", e))?;
            let line = format!("{} {}", ready.as_raw_fd(), control.as_raw_fd());
            dir.write("cgroup.event_control", &line)?;
            return Ok(OomWatch { ready, interest: PollFlags::IN, dir, file, seen: Cell::new(0) });
        }
        let missing = || Error::new(Kind::ControllerMissing, "memory", "not enabled for the group");
        let dir = Dir::open(&self.paths.v2().ok_or_else(missing)?.dir())?;
        // Not memory.events.local: it would miss a kill in a group that the container made.
        let file = "memory.events";
        match dir.file(file, OFlags::RDONLY) {
            Ok(ready) => {
                let watch = OomWatch {
                    ready,
                    interest: PollFlags::PRI,
                    dir,
                    file,
                    seen: Cell::new(self.oom_kills()?.unwrap_or(0)),
                };
                // The first read arms the descriptor.
                watch.take()?;
                Ok(watch)
            }
            Err(Errno::NOENT) => Err(missing()),
            Err(e) => Err(Error::io(&dir.path().join(file), "open", e)),
        }
    }

    /// How many processes were killed for lack of memory; `None` without the memory controller or
    /// when the group is gone.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn oom_kills(&self) -> Result<Option<u64>> {
        let (place, file) = match (self.paths.v1("memory"), self.paths.v2()) {
            (Some(place), _) => (place, "memory.oom_control"),
            (None, Some(place)) => (place, "memory.events"),
            (None, None) => return Ok(None),
        };
        let Some(dir) = Dir::find(&place.dir())? else { return Ok(None) };
        Ok(dir.try_read(file)?.as_deref().and_then(killed))
    }
}
