//! Taking exit statuses: of processes by their handles, and of orphans that came to the shim.

use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{WaitId, WaitIdOptions, WaitOptions};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Children of this thread only. What a worker has made and waits for is the worker's own child; it
/// becomes the main thread's when the worker has ended.
const OWN_CHILDREN: WaitOptions = WaitOptions::from_bits_retain(0x2000_0000);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Its exit status, or 128 and the signal.
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
    /// When, in nanoseconds since 1970.
    pub(crate) at: i64,
}

/// The time, in nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

fn status(code: Option<i32>, signal: Option<i32>) -> Status {
    let code = code.or(signal.map(|signal| 128 + signal)).unwrap_or(255);
    Status { code, signal, at: now() }
}

/// Takes the exit status of a child; `None` when somebody has it already.
pub(crate) fn take(pidfd: impl AsFd) -> Option<Status> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let found = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options)
    });
    let found = found.ok().flatten()?;
    Some(status(found.exit_status(), found.terminating_signal()))
}

/// Waits for the end of a process; false when the time is up.
pub(crate) fn has_ended(pidfd: &OwnedFd, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&crate::serve::timespec(left))) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}

/// Takes the exit status of any child of this thread.
pub(crate) fn take_any() -> Option<(i32, Status)> {
    let options = WaitOptions::NOHANG | OWN_CHILDREN;
    let found = rustix::io::retry_on_intr(|| rustix::process::waitpid(None, options));
    let (pid, found) = found.ok().flatten()?;
    Some((pid.as_raw_nonzero().get(), status(found.exit_status(), found.terminating_signal())))
}
