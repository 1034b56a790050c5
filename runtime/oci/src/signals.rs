//! Signals by name and number, and those of this program as a descriptor.

use crate::{Error, Result, sys};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// `SIGCHLD`.
pub const CHILD: i32 = libc::SIGCHLD;
/// `SIGPIPE`.
pub const PIPE: i32 = libc::SIGPIPE;
/// `SIGWINCH`.
pub const RESIZE: i32 = libc::SIGWINCH;

/// Names without `SIG`, and numbers (signal(7)).
const NAMES: [(&str, i32); 34] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", PIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", 16),
    ("CHLD", CHILD),
    ("CLD", CHILD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", RESIZE),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// First and last real-time signal as the C library counts them.
const REALTIME: (i32, i32) = (34, 64);

/// The number of a signal given as `KILL`, `SIGKILL`, `9`, `RTMIN+3`, in any case.
///
/// # Errors
/// It is no signal.
pub fn number(text: &str) -> Result<i32> {
    let wrong = || Error::invalid(format!("signal {text:?}"), "unknown signal");
    if let Ok(number) = text.parse::<i32>() {
        return (0..=REALTIME.1).contains(&number).then_some(number).ok_or_else(wrong);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.parse::<i32>().ok() };
    let from_first = name.strip_prefix("RTMIN").and_then(offset).map(|n| REALTIME.0 + n);
    let from_last = name.strip_prefix("RTMAX").and_then(offset).map(|n| REALTIME.1 + n);
    let number = from_first.or(from_last).filter(|n| (REALTIME.0..=REALTIME.1).contains(n));
    number.ok_or_else(wrong)
}

/// Sends a signal to the process of a handle.
///
/// # Errors
/// The process has ended, or may not be signalled.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    sys::send_signal(pidfd, signal).map_err(|errno| Error::errno("signal", "send", errno))
}

/// The signals of this program, blocked and read from a descriptor. Children of this library start
/// with none blocked.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Blocks all signals that can be.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> Result<Watch> {
        // What the program does wrong itself must still end it.
        let own =
            [libc::SIGILL, libc::SIGTRAP, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];
        let taken: Vec<i32> = (1..=64).filter(|signal| !own.contains(signal)).collect();
        let fd = sys::signal_descriptor(&taken);
        fd.map(Watch).map_err(|errno| Error::errno("signals", "signalfd", errno))
    }

    /// The next signal that has come.
    ///
    /// # Errors
    /// The kernel's.
    pub fn next(&self) -> Result<Option<i32>> {
        // signalfd_siginfo begins with the number.
        let mut info = [0_u8; 128];
        match rustix::io::read(&self.0, &mut info) {
            Ok(128) => Ok(Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))),
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(errno) => Err(Error::errno("signals", "read", errno)),
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        let cases = [
            ("KILL", 9),
            ("SIGTERM", 15),
            ("hup", 1),
            ("9", 9),
            ("0", 0),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
        ];
        for (text, want) in cases {
            assert_eq!(number(text).expect(text), want);
        }
        for bad in ["", "65", "-1", "SIGNOPE", "RTMIN+99", "9x"] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
    }
}
