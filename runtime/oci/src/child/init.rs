//! The container's first process.

use super::become_process::{Tail, plain_lines, use_terminal};
use super::{Outcome, home, report, report_with};
use crate::hook::{self, Hook};
use crate::sync::{self, At, Fault, Step, Word};
use crate::sys;
use rootfs::Mounted;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::ffi::{CStr, CString};

type Done = std::result::Result<(), Fault>;

/// All that the first process needs, made by its parent.
pub(crate) struct Init<'a> {
    pub(crate) sync: BorrowedFd<'a>,
    /// Wait until the parent has written ID mappings, or placed this process.
    pub(crate) wait: bool,
    /// Become root of the new user namespace.
    pub(crate) become_root: bool,
    pub(crate) cgroup: Option<(&'a cgroup::Joiner, bool)>,
    pub(crate) late: Late,
    pub(crate) streams: Option<&'a crate::Streams>,
    pub(crate) keyring: Option<CString>,
    pub(crate) loopback: bool,
    pub(crate) host_name: Option<&'a str>,
    pub(crate) domain_name: Option<&'a str>,
    pub(crate) root: &'a rootfs::Plan,
    pub(crate) prepared: &'a rootfs::Prepared,
    /// The parent runs hooks, or moves devices, once the mounts are made.
    pub(crate) pause: bool,
    /// Hooks to run here, and the state they read.
    pub(crate) create_hooks: (&'a [Hook], Option<&'a OwnedFd>),
    pub(crate) start_hooks: (&'a [Hook], Option<&'a OwnedFd>),
    pub(crate) sysctls: &'a [(CString, Vec<u8>)],
    pub(crate) personality: Option<u64>,
    pub(crate) memory_policy: Option<(i32, &'a [u64])>,
    /// The socket to send the terminal to; without it the parent gets it.
    pub(crate) console: Option<BorrowedFd<'a>>,
    pub(crate) tail: Tail<'a>,
    /// Listens for the word to start.
    pub(crate) gate: BorrowedFd<'a>,
}

/// Namespaces that are made late.
#[derive(Default)]
pub(crate) struct Late {
    /// As flags; after the process is in its control group.
    pub(crate) kinds: u64,
    /// Text for `timens_offsets`.
    pub(crate) offsets: Option<Vec<u8>>,
}

impl Init<'_> {
    /// Does it all; the value is an exit status.
    pub(crate) fn run(&self) -> i32 {
        if let Err(fault) = self.set_up() {
            return report(self.sync, fault);
        }
        self.shed();
        let starter = match self.await_start() {
            Ok(starter) => starter,
            Err(status) => return status,
        };
        let Err(fault) = self.start();
        report_with(starter.as_fd(), fault, self.start_hooks.1.map(AsFd::as_fd))
    }

    fn set_up(&self) -> Done {
        self.streams.map_or(Ok(()), crate::Streams::take)?;
        let clocks = self.open_clocks()?;
        if self.wait {
            sync::wait(self.sync)?;
        }
        if self.become_root {
            sys::set_gid(0).at(Step::Identity)?;
            sys::set_uid(0).at(Step::Identity)?;
        }
        if let Some((joiner, born_inside)) = self.cgroup {
            joiner.join(born_inside).map_err(errno).at(Step::Cgroup)?;
        }
        sys::use_all_cpus();
        self.make_late_namespaces(clocks)?;
        rustix::process::setsid().at(Step::Session)?;
        if let Some(name) = &self.keyring {
            // Kernels without keys, and filters around this runtime, refuse it.
            let _ = sys::join_keyring(name);
        }
        if self.loopback {
            sys::loopback_up().at(Step::Loopback)?;
        }
        if let Some(name) = self.host_name {
            sys::set_host_name(name.as_bytes()).at(Step::HostName)?;
        }
        if let Some(name) = self.domain_name {
            sys::set_domain_name(name.as_bytes()).at(Step::DomainName)?;
        }
        if let Some((mode, nodes)) = self.memory_policy {
            sys::set_memory_policy(mode, nodes).at(Step::MemoryPolicy)?;
        }
        if let Some(domain) = self.personality {
            sys::set_personality(domain).at(Step::Personality)?;
        }
        self.set_root()?;
        sync::say(self.sync, Word::Ready).at(Step::Sync)
    }

    /// Opened early: who has become root of a user namespace may not open its own files in procfs.
    fn open_clocks(&self) -> std::result::Result<Option<OwnedFd>, Fault> {
        if self.late.offsets.is_none() {
            return Ok(None);
        }
        let (path, flags) = (c"/proc/self/timens_offsets", OFlags::WRONLY | OFlags::CLOEXEC);
        rustix::fs::open(path, flags, Mode::empty()).map(Some).at(Step::TimeOffsets)
    }

    fn make_late_namespaces(&self, clocks: Option<OwnedFd>) -> Done {
        if self.late.kinds != 0 {
            sys::split(self.late.kinds).at(Step::Namespaces)?;
        }
        let (Some(offsets), Some(clocks)) = (&self.late.offsets, clocks) else { return Ok(()) };
        rustix::io::write(&clocks, offsets).map(drop).at(Step::TimeOffsets)
    }

    fn set_root(&self) -> Done {
        let mut mounted = self.root.mount(self.prepared)?;
        if self.pause {
            sync::say(self.sync, Word::Mounted).at(Step::Sync)?;
            sync::wait(self.sync)?;
        }
        if let (hooks, Some(state)) = self.create_hooks {
            // Hooks of other runtimes begin in the container's root, and paths in them tell so.
            rustix::process::fchdir(mounted.root()).at(Step::Root)?;
            hook::run_all(hooks, state.as_fd())?;
        }
        if !self.sysctls.is_empty() {
            let proc = mounted.proc()?;
            for (index, (path, value)) in self.sysctls.iter().enumerate() {
                proc.write(path, value).nth(Step::Sysctl, index)?;
            }
        }
        if self.tail.plan.terminal {
            self.terminal(&mounted)?;
        }
        mounted.pivot()?;
        self.make_directory()?;
        mounted.finish()?;
        self.tail.settle(|| Ok(mounted.proc()?))
    }

    fn terminal(&self, mounted: &Mounted<'_>) -> Done {
        let (master, slave) = mounted.open_console()?;
        mounted.bind_console(slave.as_fd())?;
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

    /// Makes the working directory if it is missing, as other runtimes do.
    fn make_directory(&self) -> Done {
        let path = self.tail.plan.cwd.as_bytes_with_nul();
        if rustix::fs::access(self.tail.plan.cwd.as_c_str(), rustix::fs::Access::EXISTS).is_ok() {
            return Ok(());
        }
        let mut buffer = [0_u8; 4096];
        let Some(room) = buffer.get_mut(..path.len()) else {
            return Err(Fault::Step(Step::Directory, 0, Errno::NAMETOOLONG));
        };
        room.copy_from_slice(path);
        for end in 1..path.len() {
            if path[end] != b'/' && path[end] != 0 {
                continue;
            }
            buffer[end] = 0;
            let Ok(part) = CStr::from_bytes_until_nul(&buffer) else { continue };
            // What cannot be made is told of when the directory is entered.
            let _ = rustix::fs::mkdirat(CWD, part, Mode::from_raw_mode(0o755));
            buffer[end] = path[end];
        }
        Ok(())
    }

    /// Closes the copies of what is its parent's. This process may wait for its start for long: ends
    /// of pipes that it held would keep their readers waiting, and locks would stay taken.
    fn shed(&self) {
        let number = |fd: BorrowedFd<'_>| fd.as_raw_fd() as u32;
        let mut kept = [u32::MAX; 4];
        let state = self.start_hooks.1.map(AsFd::as_fd);
        let agent = self.tail.filter.map_or([None, None], crate::filter::Filter::descriptors);
        let needed = [Some(self.gate), state, agent[0], agent[1]];
        for (slot, fd) in kept.iter_mut().zip(needed.into_iter().flatten()) {
            *slot = number(fd);
        }
        kept.sort_unstable();
        let mut first = 3 + self.tail.preserve;
        for fd in kept {
            if fd > first {
                sys::close_between(first, fd - 1);
            }
            first = first.max(fd.saturating_add(1));
        }
    }

    /// Waits for the word to start; the connection hears of a failure, and of success by its end.
    /// A starter that dies before it has said the word has not started anything. Signals that would
    /// end a process are the end: process 1 of a namespace gets none whose default it has not changed.
    /// An error is the exit status.
    fn await_start(&self) -> std::result::Result<OwnedFd, i32> {
        let signals = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
        let fail = |_| super::FAILED;
        let ends = sys::signal_descriptor(&signals).map_err(fail)?;
        loop {
            let mut ready = [
                PollFd::from_borrowed_fd(ends.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.gate, PollFlags::IN),
            ];
            match rustix::event::poll(&mut ready, None) {
                Err(Errno::INTR) => continue,
                other => other.map_err(fail)?,
            };
            if !ready[0].revents().is_empty() {
                // A signalfd_siginfo begins with the number.
                let mut info = [0; 128];
                rustix::io::read(&ends, &mut info).map_err(fail)?;
                let [a, b, c, d, ..] = info;
                return Err(128 + i32::from_ne_bytes([a, b, c, d]));
            }
            match rustix::net::accept_with(self.gate, SocketFlags::CLOEXEC) {
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return Err(super::FAILED),
                Ok(starter) => {
                    if let Ok(Some((Word::Go, _))) = sync::hear(starter.as_fd()) {
                        return Ok(starter);
                    }
                }
            }
        }
    }

    fn start(&self) -> Outcome {
        if let (hooks, Some(state)) = self.start_hooks {
            let mut buffer = [0; home::LINE_MAX];
            if let Some(entry) = home::find(self.tail.plan.uid, &mut buffer) {
                hooks.iter().for_each(|hook| hook.set_home(entry));
            }
            hook::run_all(hooks, state.as_fd())?;
        }
        self.tail.execute()
    }
}

pub(crate) fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
