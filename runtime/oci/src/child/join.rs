//! A further process in a container that runs.

use super::become_process::{Tail, plain_lines, use_terminal};
use super::{Outcome, init, report};
use crate::sync::{self, At, Fault, Step, Word};
use crate::sys;
use rootfs::ProcHandle;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

type Done = std::result::Result<(), Fault>;

/// All that a further process needs, made by its parent.
pub(crate) struct Exec<'a> {
    pub(crate) sync: BorrowedFd<'a>,
    pub(crate) cgroup: Option<(&'a cgroup::Joiner, bool)>,
    pub(crate) streams: Option<&'a crate::Streams>,
    pub(crate) keyring: Option<std::ffi::CString>,
    /// The root to change to, where no namespace brings it.
    pub(crate) root: Option<BorrowedFd<'a>>,
    pub(crate) console: Option<BorrowedFd<'a>>,
    pub(crate) personality: Option<u64>,
    pub(crate) tail: Tail<'a>,
}

impl Exec<'_> {
    /// Does it all; the value is an exit status.
    pub(crate) fn run(&self) -> i32 {
        let Err(fault) = self.work();
        report(self.sync, fault)
    }

    fn work(&self) -> Outcome {
        self.streams.map_or(Ok(()), crate::Streams::take)?;
        if let Some(cpus) = &self.tail.plan.initial_cpus {
            sys::set_cpus(cpus).at(Step::Affinity)?;
        }
        // In the container's groups before anything else: what it uses is counted there.
        if let Some((joiner, born_inside)) = self.cgroup {
            joiner.join(born_inside).map_err(init::errno).at(Step::Cgroup)?;
        }
        match &self.tail.plan.final_cpus {
            Some(cpus) => sys::set_cpus(cpus).at(Step::Affinity)?,
            None if self.tail.plan.initial_cpus.is_none() => sys::use_all_cpus(),
            None => {}
        }
        if let Some(domain) = self.personality {
            sys::set_personality(domain).at(Step::Personality)?;
        }
        rustix::process::setsid().at(Step::Session)?;
        if let Some(name) = &self.keyring {
            // Kernels without keys, and filters around this runtime, refuse it.
            let _ = sys::join_keyring(name);
        }
        if let Some(root) = self.root {
            rustix::process::fchdir(root).at(Step::Root)?;
            rustix::process::chroot(c".").at(Step::Root)?;
        }
        if self.tail.plan.terminal {
            self.terminal()?;
        }
        self.tail.settle(|| ProcHandle::open().at(Step::AppArmor))?;
        // Limits and scores that only the host's rights allow are set by the parent, now that they
        // cannot hinder the steps before.
        sync::say(self.sync, Word::Ready).at(Step::Sync)?;
        sync::wait(self.sync)?;
        self.tail.execute()
    }

    fn terminal(&self) -> Done {
        let (master, slave) = open_terminal().at(Step::Terminal)?;
        // Who gives the streams passes the terminal on as it is.
        if self.console.is_none() && self.streams.is_none() {
            plain_lines(&slave).at(Step::Terminal)?;
        }
        match self.console {
            Some(socket) => sync::send(socket, b"/dev/ptmx", Some(master.as_fd())),
            None => sync::send(self.sync, &Word::Terminal.to_bytes(), Some(master.as_fd())),
        }
        .at(Step::ConsoleSocket)?;
        use_terminal(&slave, self.tail.plan.size.as_ref())
    }
}

/// A terminal of the container's devpts, whatever its image or its processes put in that place.
fn open_terminal() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    const DEVPTS_MAGIC: i64 = 0x1cd1;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master =
        rustix::fs::openat(CWD, c"/dev/pts/ptmx", flags | OFlags::NOFOLLOW, Mode::empty())?;
    if rustix::fs::fstatfs(&master)?.f_type as i64 != DEVPTS_MAGIC {
        return Err(Errno::NOTTY);
    }
    rustix::pty::unlockpt(&master)?;
    let flags = rustix::pty::OpenptFlags::RDWR
        | rustix::pty::OpenptFlags::NOCTTY
        | rustix::pty::OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    Ok((master, slave))
}
