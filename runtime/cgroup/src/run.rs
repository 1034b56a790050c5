//! Stopping, continuing and ending all processes of a group.

use crate::dir::{Dir, Tries};
use crate::error::{Error, Kind, Result};
use crate::group::Cgroup;
use crate::paths::Place;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// How long one attempt to stop a v1 group before killing may take: it makes killing surer and is
/// not needed for it.
const STOP_BEFORE_KILL: Duration = Duration::from_millis(100);

impl Cgroup {
    /// Stops all processes, and waits up to `limit` until they are. On failure they run again.
    ///
    /// Where there is a v2 tree, hybrid layouts included, its freezer is used: it tells when it is
    /// done, and a process stopped by it can still be killed.
    ///
    /// # Errors
    /// [`Kind::Timeout`]: a process sleeps in the kernel, or a v1 freezer met a `vfork`.
    pub fn freeze(&self, limit: Duration) -> Result<()> {
        let done = match (self.v2()?, self.freezer()?) {
            (Some(dir), _) if has_freezer(&dir) => freeze_v2(&dir, limit),
            (_, Some(dir)) => freeze_v1(&dir, limit),
            _ => Err(Error::new(Kind::ControllerMissing, "freezer", "no freezer is mounted")),
        };
        done.inspect_err(|_| {
            // The first error is the one to report.
            let _ = self.thaw(limit);
        })
    }

    /// Lets all processes run again, whichever freezer holds them, and waits up to `limit`.
    ///
    /// # Errors
    /// [`Kind::Timeout`], or [`Kind::Io`].
    pub fn thaw(&self, limit: Duration) -> Result<()> {
        if let Some(dir) = self.freezer()?
            && state(&dir)? != "THAWED"
        {
            dir.write("freezer.state", "THAWED")?;
        }
        match self.v2()? {
            Some(dir) if has_freezer(&dir) => {
                dir.write("cgroup.freeze", "0")?;
                wait_event(&dir, "frozen 0", limit)
            }
            _ => Ok(()),
        }
    }

    /// Whether the group is stopped, or about to be.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn is_frozen(&self) -> Result<bool> {
        if let Some(dir) = self.v2()?
            && dir.try_read("cgroup.freeze")?.is_some_and(|t| t.trim() == "1")
        {
            return Ok(true);
        }
        match self.freezer()? {
            Some(dir) => Ok(state(&dir)? != "THAWED"),
            None => Ok(false),
        }
    }

    /// Ends all processes by `SIGKILL`, stopped or not, and waits up to `limit` until none is left.
    ///
    /// # Errors
    /// [`Kind::Timeout`] when some cannot end, as they sleep in the kernel.
    pub fn kill(&self, limit: Duration) -> Result<()> {
        let mut tries = Tries::within(limit);
        if let Some(dir) = self.v2()? {
            match dir.try_write("cgroup.kill", "1") {
                // Before Linux 5.14, or threaded: signalled one by one, below.
                Ok(()) | Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV) => {}
                Err(e) => return Err(dir.failed_write("cgroup.kill", "1", e)),
            }
            self.wake()?;
            match wait_event(&dir, "populated 0", tries.left().min(Duration::from_secs(1))) {
                Err(e) if e.kind() != Kind::Timeout => return Err(e),
                _ => {}
            }
        }
        loop {
            let pids = self.pids()?;
            if pids.is_empty() {
                return self.wake();
            }
            self.kill_each()?;
            if !tries.again() {
                return Err(Error::new(
                    Kind::Timeout,
                    format_args!("processes {pids:?}"),
                    "they do not end, though killed",
                ));
            }
        }
    }

    /// Sends a signal to all processes of the group, and tells to how many.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a number that is none, [`Kind::Io`].
    pub fn signal(&self, number: i32) -> Result<usize> {
        let signal = Signal::from_named_raw(number)
            .ok_or_else(|| Error::invalid(format_args!("signal {number}"), "not a signal"))?;
        let mut sent = 0;
        for pid in self.pids()? {
            sent += usize::from(send(pid, signal)?);
        }
        Ok(sent)
    }

    /// One round of the v1 way: stopped, so that none forks meanwhile, signalled, let go.
    fn kill_each(&self) -> Result<()> {
        let freezer = self.freezer()?;
        if let Some(dir) = &freezer {
            match freeze_v1(dir, STOP_BEFORE_KILL) {
                Err(e) if e.kind() != Kind::Timeout && !is_gone(&e) => return Err(e),
                _ => {}
            }
        }
        for pid in self.pids()? {
            send(pid, Signal::KILL)?;
        }
        self.wake()
    }

    /// Lets a v1 freezer go: what it holds cannot die.
    fn wake(&self) -> Result<()> {
        match self.freezer()? {
            Some(dir) if state(&dir)? != "THAWED" => dir.write("freezer.state", "THAWED"),
            _ => Ok(()),
        }
    }

    fn v2(&self) -> Result<Option<Dir>> {
        open(self.paths.v2())
    }

    fn freezer(&self) -> Result<Option<Dir>> {
        open(self.paths.v1("freezer"))
    }
}

fn open(place: Option<&Place>) -> Result<Option<Dir>> {
    place.map(|p| Dir::find(&p.dir())).transpose().map(Option::flatten)
}

fn is_gone(e: &Error) -> bool {
    matches!(e.errno(), Some(libc::ENOENT | libc::ENODEV))
}

fn has_freezer(dir: &Dir) -> bool {
    dir.file("cgroup.freeze", OFlags::WRONLY).is_ok()
}

fn state(dir: &Dir) -> Result<String> {
    // A group that vanished holds nobody.
    let text = dir.try_read("freezer.state")?;
    Ok(text.map_or_else(|| "THAWED".to_owned(), |t| t.trim().to_owned()))
}

fn freeze_v2(dir: &Dir, limit: Duration) -> Result<()> {
    dir.write("cgroup.freeze", "1")?;
    wait_event(dir, "frozen 1", limit)
}

fn freeze_v1(dir: &Dir, limit: Duration) -> Result<()> {
    let mut tries = Tries::within(limit);
    let mut round = 0u32;
    loop {
        // A process that forks while the group is being stopped can be missed. Writing again finds
        // it; now and then the group must run for a moment to get past the place.
        if round % 16 == 15 {
            dir.write("freezer.state", "THAWED")?;
            std::thread::sleep(Duration::from_millis(1));
        }
        dir.write("freezer.state", "FROZEN")?;
        if state(dir)? == "FROZEN" {
            return Ok(());
        }
        round += 1;
        if !tries.again() {
            dir.write("freezer.state", "THAWED")?;
            return Err(timeout(dir.path(), "freeze"));
        }
    }
}

fn timeout(path: &Path, verb: &str) -> Error {
    Error::new(Kind::Timeout, path.display(), format_args!("{verb}: not done in time"))
}

/// Waits for a line of `cgroup.events`; the kernel tells when it changes. A group that is gone has
/// all that can be waited for.
fn wait_event(dir: &Dir, line: &str, limit: Duration) -> Result<()> {
    let fail = |e: Errno| Error::io(&dir.path().join("cgroup.events"), "read", e);
    let file = match dir.file("cgroup.events", OFlags::RDONLY) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        Err(e) => return Err(fail(e)),
    };
    let tries = Tries::within(limit);
    let mut pause = Duration::from_micros(200);
    loop {
        match crate::dir::read_whole(&file) {
            Ok(text) if text.lines().any(|l| l == line) => return Ok(()),
            Ok(_) => {}
            Err(Errno::NODEV) => return Ok(()),
            Err(e) => return Err(fail(e)),
        }
        if tries.left().is_zero() {
            return Err(timeout(dir.path(), line));
        }
        wait(&file, pause.min(tries.left())).map_err(fail)?;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Waits for a notice, but not for long: the kernel spaces notices of one file by 10 ms, and what is
/// waited for is often there sooner.
fn wait(file: &OwnedFd, limit: Duration) -> std::result::Result<(), Errno> {
    let mut fds = [PollFd::new(file, PollFlags::PRI)];
    let time = Timespec::try_from(limit).map_err(|_| Errno::INVAL)?;
    match poll(&mut fds, Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Signals a process; false when it has ended.
fn send(pid: u32, signal: Signal) -> Result<bool> {
    let Some(id) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return Err(Error::invalid(format_args!("process {pid}"), "not a process id"));
    };
    let sent = pidfd_open(id, PidfdFlags::empty()).and_then(|fd| pidfd_send_signal(fd, signal));
    match sent {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(e) => Err(Error::call(format_args!("process {pid}"), "signal", e)),
    }
}
