//! Processes by number, without mistaking a later one for an earlier.

use crate::{Error, Result};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// One letter; `Z` and `X` are dead.
    pub(crate) state: u8,
    /// Ticks since boot when it was started.
    pub(crate) start_time: u64,
}

/// Reads it; `None` when there is no such process.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, parentheses too.
    let after = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(after + 2..)?).ok()?;
    let mut fields = rest.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    Some(Stat { state, start_time: fields.nth(18)?.parse().ok()? })
}

/// Its number in its own PID namespace.
pub(crate) fn inside(pid: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().last()?.parse().ok()
}

/// Whether the process that was started then is alive; one that ended and was not yet waited for
/// is not.
pub(crate) fn is_alive(pid: i32, start_time: u64) -> bool {
    pid > 0
        && stat(pid).is_some_and(|s| s.start_time == start_time && !matches!(s.state, b'Z' | b'X'))
}

/// A handle of the process that was started then; `None` when it is gone.
pub(crate) fn open(pid: i32, start_time: u64) -> Result<Option<OwnedFd>> {
    let Some(number) = Pid::from_raw(pid).filter(|_| pid > 0) else { return Ok(None) };
    let handle = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
        Err(errno) => return Err(Error::errno(format!("process {pid}"), "pidfd_open", errno)),
    };
    // Read while the handle is held: the number cannot go to somebody else unnoticed.
    Ok(stat(pid).is_some_and(|s| s.start_time == start_time).then_some(handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_not_a_process() {
        let me = std::process::id() as i32;
        let mine = stat(me).expect("my own");
        assert!(is_alive(me, mine.start_time));
        assert!(!is_alive(me, mine.start_time + 1));
        assert!(open(me, mine.start_time).expect("open").is_some());
        assert!(open(me, mine.start_time + 1).expect("open").is_none());
        assert!(!is_alive(0, 0));
    }
}
