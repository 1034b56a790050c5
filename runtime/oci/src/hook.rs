//! Hooks: programs run at points of the lifecycle (config.md, POSIX-platform Hooks).

use crate::sync::{Fault, Step};
use crate::sys::{self, Strings};
use crate::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// A hook that can be run: checked, and ready for the kernel.
#[derive(Debug)]
pub(crate) struct Hook {
    path: CString,
    args: Strings,
    env: Strings,
    /// `HOME` is looked up in the container, as for the process whose environment this is.
    home: bool,
    timeout: Option<Duration>,
}

impl Hook {
    fn new(subject: &str, wire: &runtime_spec::Hook) -> Result<Hook> {
        if !wire.path.is_absolute() {
            return Err(Error::invalid(format!("{subject}.path"), "must be an absolute path"));
        }
        let zero = |_| Error::invalid(subject, "holds a zero byte");
        let text = |bytes: &[u8]| CString::new(bytes).map_err(zero);
        let texts =
            |list: &[String]| list.iter().map(|s| text(s.as_bytes())).collect::<Result<Vec<_>>>();
        let path = text(wire.path.as_os_str().as_bytes())?;
        let args = if wire.args.is_empty() { vec![path.clone()] } else { texts(&wire.args)? };
        let timeout = match wire.timeout {
            Some(seconds @ 1..) => Some(Duration::from_secs(seconds.unsigned_abs())),
            Some(other) => {
                let cause = format!("{other}: want more than zero seconds");
                return Err(Error::invalid(format!("{subject}.timeout"), cause));
            }
            None => None,
        };
        let (args, env) = (Strings::new(args), Strings::new(texts(&wire.env)?));
        Ok(Hook { path, args, env, home: false, timeout })
    }

    /// `startContainer` hooks: without an environment of its own such a hook has that of the
    /// process, as with runc.
    pub(crate) fn list_of_start(
        wire: &[runtime_spec::Hook],
        process: Option<&runtime_spec::Process>,
    ) -> Result<Vec<Hook>> {
        let mut hooks = Hook::list("startContainer", wire)?;
        let Some(process) = process else { return Ok(hooks) };
        for hook in hooks.iter_mut().zip(wire).filter(|(_, wire)| wire.env.is_empty()) {
            let (env, home) = crate::process::environment(&process.env)?;
            (hook.0.env, hook.0.home) = (Strings::new(env), home);
        }
        Ok(hooks)
    }

    /// Gives it the directory of its user, if it lacks one. What is given must outlive it.
    pub(crate) fn set_home(&self, entry: &CStr) {
        if self.home {
            self.env.replace_last(entry);
        }
    }

    /// Checks a list of hooks.
    pub(crate) fn list(kind: &str, wire: &[runtime_spec::Hook]) -> Result<Vec<Hook>> {
        let one = |(index, hook)| Hook::new(&format!("hooks.{kind}[{index}]"), hook);
        wire.iter().enumerate().map(one).collect()
    }

    /// Runs it to its end. Allocates nothing. Of one that failed, what it said last stands in the
    /// file afterwards, in the place of the state.
    fn run(&self, state: BorrowedFd<'_>, index: u32) -> std::result::Result<(), Fault> {
        let mut said = Said { text: [0; SAID], length: 0 };
        let done = self.run_to_end(state, index, &mut said);
        if done.is_err() {
            // The failure counts, with its words or without.
            let _ = rustix::fs::ftruncate(state, 0);
            let _ = rustix::io::pwrite(state, &said.text[..said.length], 0);
        }
        done
    }

    fn run_to_end(
        &self,
        state: BorrowedFd<'_>,
        index: u32,
        said: &mut Said,
    ) -> std::result::Result<(), Fault> {
        let fail = |errno| Fault::Step(Step::Hook, index, errno);
        rustix::fs::seek(state, SeekFrom::Start(0)).map_err(fail)?;
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
        let child = sys::spawn(0, None, &mut || {
            sys::reset_signals();
            let ready = sys::place(state, 0).and_then(|()| sys::place(theirs.as_fd(), 2));
            let ready = ready.and_then(|()| sys::close_on_exec_from(3));
            ready.map_or(126, |()| {
                sys::exec(&self.path, &self.args, &self.env);
                127
            })
        });
        drop(theirs);
        let child = child.map_err(fail)?;
        let status = match self.ended(child.pidfd.as_fd(), ours.as_fd(), said) {
            Ok(true) => reap(&child.pidfd).map_err(fail)?,
            Ok(false) => {
                let _ = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL);
                let _ = reap(&child.pidfd);
                return Err(Fault::Step(Step::HookTimeout, index, Errno::TIMEDOUT));
            }
            Err(errno) => return Err(fail(errno)),
        };
        if status == 0 {
            return Ok(());
        }
        Err(Fault::Step(Step::HookStatus, index, sys::errno(status)))
    }

    /// Waits for its end, and passes on what it says meanwhile; false when its time is up. What it
    /// leaves behind is not waited for.
    fn ended(
        &self,
        pidfd: BorrowedFd<'_>,
        pipe: BorrowedFd<'_>,
        said: &mut Said,
    ) -> rustix::io::Result<bool> {
        let limit = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let (mut open, mut drained) = (true, 0);
        loop {
            let flags = if open { PollFlags::IN } else { PollFlags::empty() };
            let wanted = [(pidfd, PollFlags::IN), (if open { pipe } else { pidfd }, flags)];
            let mut fds = wanted.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags));
            match rustix::event::poll(&mut fds, left(limit).as_ref()) {
                Err(Errno::INTR) => continue,
                Ok(0) => return Ok(false),
                other => other?,
            };
            let [ended, spoke] = fds.map(|fd| !fd.revents().is_empty());
            // Once it has ended, not more than a pipe holds.
            drained += usize::from(ended);
            if open && spoke && drained <= 64 {
                open = said.hear(pipe);
            } else if ended {
                return Ok(true);
            }
        }
    }
}

/// So much is kept of what a hook says: its end.
const SAID: usize = 1024;

struct Said {
    text: [u8; SAID],
    length: usize,
}

impl Said {
    /// Takes what is there, and passes it on; false at the end.
    fn hear(&mut self, pipe: BorrowedFd<'_>) -> bool {
        let mut buffer = [0; SAID];
        let Ok(count @ 1..) = rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut buffer))
        else {
            return false;
        };
        // It is for whoever reads the runtime's, if somebody does.
        let _ = rustix::io::write(rustix::stdio::stderr(), &buffer[..count]);
        let kept = self.length.min(SAID - count);
        self.text.copy_within(self.length - kept..self.length, 0);
        self.text[kept..kept + count].copy_from_slice(&buffer[..count]);
        self.length = kept + count;
        true
    }
}

/// The time until then, as poll(2) takes it.
fn left(limit: Option<Instant>) -> Option<Timespec> {
    let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
    left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    })
}

/// Waits until a process has ended; false when the time came first.
pub(crate) fn wait_until(
    pidfd: BorrowedFd<'_>,
    limit: Option<Instant>,
) -> rustix::io::Result<bool> {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, left(limit).as_ref()) {
            Err(Errno::INTR) => {}
            other => return other.map(|ready| ready > 0),
        }
    }
}

/// Takes the exit of a child; its code, or 128 and the signal.
pub(crate) fn reap(pidfd: &OwnedFd) -> rustix::io::Result<i32> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            other => {
                let status = other?;
                let code = status.as_ref().and_then(rustix::process::WaitIdStatus::exit_status);
                let signal =
                    status.as_ref().and_then(rustix::process::WaitIdStatus::terminating_signal);
                return Ok(code.or(signal.map(|signal| 128 + signal)).unwrap_or(255));
            }
        }
    }
}

/// Runs hooks in their order; the first failure ends it. Allocates nothing.
pub(crate) fn run_all(hooks: &[Hook], state: BorrowedFd<'_>) -> std::result::Result<(), Fault> {
    hooks.iter().enumerate().try_for_each(|(index, hook)| hook.run(state, index as u32))
}

/// Runs hooks in their order, also those after one that fails.
pub(crate) fn run_each(
    kind: &str,
    hooks: &[Hook],
    state: &runtime_spec::State,
    failed: &mut dyn FnMut(Error),
) -> Result<()> {
    let file = state_file(state)?;
    for (index, hook) in hooks.iter().enumerate() {
        if let Err(fault) = hook.run(file.as_fd(), index as u32) {
            failed(explain(kind, fault, Some(file.as_fd())));
            fill_state(&file, state)?;
        }
    }
    Ok(())
}

/// A failed hook in words, its own among them: they stand in the file that it read the state from.
pub(crate) fn explain(kind: &str, fault: Fault, said: Option<BorrowedFd<'_>>) -> Error {
    let Fault::Step(step, index, errno) = fault else {
        return Error::new(crate::Kind::Hook, format!("hooks.{kind}"), "failed");
    };
    let cause = match (step, errno.raw_os_error()) {
        (Step::HookTimeout, _) => "did not end within its timeout and was killed".to_owned(),
        (Step::HookStatus, 127) => "could not be executed, or ended with status 127".to_owned(),
        (Step::HookStatus, code @ 129..) => format!("was ended by signal {}", code - 128),
        (Step::HookStatus, code) => format!("ended with status {code}"),
        _ => crate::error::words(errno),
    };
    let mut text = [0; SAID];
    let length = said.and_then(|file| rustix::io::pread(file, &mut text, 0).ok()).unwrap_or(0);
    let said = String::from_utf8_lossy(&text[..length]);
    let said = said.trim();
    let comma = if said.is_empty() { "" } else { ": " };
    // The words in front are those that callers of runc look for.
    let cause = format!("error running {kind} hook #{index}: {cause}{comma}{said}");
    Error::new(crate::Kind::Hook, format!("hooks.{kind}[{index}]"), cause)
}

/// A file in memory that holds the state for hooks to read.
pub(crate) fn state_file(state: &runtime_spec::State) -> Result<OwnedFd> {
    let fail = |errno| Error::errno("state for hooks", "memfd", errno);
    let file = rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC).map_err(fail)?;
    fill_state(&file, state)?;
    Ok(file)
}

/// Writes the state into such a file.
pub(crate) fn fill_state(file: &OwnedFd, state: &runtime_spec::State) -> Result<()> {
    let fail = |errno| Error::errno("state for hooks", "write", errno);
    let text = serde_json::to_vec(state)
        .map_err(|error| Error::invalid("state for hooks", error.to_string()))?;
    rustix::fs::ftruncate(file, 0).map_err(fail)?;
    let mut done = 0;
    while done < text.len() {
        done += rustix::io::pwrite(file, &text[done..], done as u64).map_err(fail)?;
    }
    Ok(())
}
