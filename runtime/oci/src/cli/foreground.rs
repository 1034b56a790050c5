//! A process that this program waits for: signals passed on, terminal copied.

use oci::{Error, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, OutputModes, Termios};

/// Signals of this program, read instead of received.
pub(super) struct Signals(oci::signals::Watch);

impl Signals {
    /// From now on signals are passed on.
    pub(super) fn take() -> Result<Signals> {
        Ok(Signals(oci::signals::Watch::new()?))
    }
}

/// The terminal of the process and of this program.
pub(super) struct Streams {
    master: Option<OwnedFd>,
    saved: Option<Termios>,
}

impl Streams {
    /// Puts this program's terminal in raw mode, if there is one.
    pub(super) fn new(master: Option<OwnedFd>) -> Result<Streams> {
        let fail = |errno: Errno| Error::errno("terminal", "set up", errno);
        let stdin = rustix::stdio::stdin();
        if master.is_none() || !rustix::termios::isatty(stdin) {
            return Ok(Streams { master, saved: None });
        }
        let saved = rustix::termios::tcgetattr(stdin).map_err(fail)?;
        let mut raw = saved.clone();
        raw.make_raw();
        // It returns the carriage, as the container's terminal does not.
        raw.output_modes.insert(OutputModes::OPOST);
        rustix::termios::tcsetattr(stdin, OptionalActions::Flush, &raw).map_err(fail)?;
        let streams = Streams { master, saved: Some(saved) };
        streams.resize();
        Ok(streams)
    }

    /// Gives the process's terminal the size of ours. A terminal that has none stays as it is.
    fn resize(&self) {
        if let (Some(master), Some(_)) = (&self.master, &self.saved)
            && let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin())
        {
            let _ = rustix::termios::tcsetwinsize(master, size);
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            // The terminal may be gone.
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, saved);
        }
    }
}

/// Passes signals on and copies the terminal until the process has ended.
pub(super) fn watch(
    signals: &Signals,
    pidfd: Option<BorrowedFd<'_>>,
    pid: i32,
    streams: &Streams,
) -> Result<()> {
    let Some(pidfd) = pidfd else { return Ok(()) };
    let master = streams.master.as_ref().map(AsFd::as_fd);
    let (mut input, mut output) = (master.is_some(), master.is_some());
    let idle = signals.0.as_fd();
    loop {
        let ends = [
            (true, pidfd),
            (true, idle),
            (input, rustix::stdio::stdin()),
            (output, master.unwrap_or(idle)),
        ];
        let mut fds = ends.map(|(on, fd)| {
            PollFd::from_borrowed_fd(fd, if on { PollFlags::IN } else { PollFlags::empty() })
        });
        match rustix::event::poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other.map_err(|errno| Error::errno("process", "poll", errno))?,
        };
        let ready = fds.map(|fd| !fd.revents().is_empty());
        if output && ready[3] {
            output = copy(master, Some(rustix::stdio::stdout()));
        }
        if input && ready[2] {
            input = copy(Some(rustix::stdio::stdin()), master);
        }
        if ready[1] {
            pass_on(signals, pidfd, pid, streams)?;
        }
        if ready[0] {
            // What it wrote last is still in the terminal.
            while output && pending(master) {
                output = copy(master, Some(rustix::stdio::stdout()));
            }
            return Ok(());
        }
    }
}

fn pass_on(signals: &Signals, pidfd: BorrowedFd<'_>, pid: i32, streams: &Streams) -> Result<()> {
    while let Some(signal) = signals.0.next()? {
        match signal {
            oci::signals::CHILD | oci::signals::PIPE => {}
            oci::signals::RESIZE if streams.saved.is_some() => streams.resize(),
            other => oci::signals::send(pidfd, other)
                .or_else(|error| {
                    if error.kind == oci::Kind::System(Some(Errno::SRCH)) {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })
                .map_err(|error| error.within(&format!("process {pid}")))?,
        }
    }
    Ok(())
}

fn pending(fd: Option<BorrowedFd<'_>>) -> bool {
    let Some(fd) = fd else { return false };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Copies what is there; false at the end.
fn copy(from: Option<BorrowedFd<'_>>, to: Option<BorrowedFd<'_>>) -> bool {
    let (Some(from), Some(to)) = (from, to) else { return false };
    let mut buffer = [0; 16 << 10];
    let read = match rustix::io::read(from, &mut buffer) {
        Err(Errno::INTR | Errno::AGAIN) => return true,
        // EIO: all of the container have closed the terminal.
        Ok(0) | Err(_) => return false,
        Ok(read) => read,
    };
    let mut left = &buffer[..read];
    while !left.is_empty() {
        match rustix::io::write(to, left) {
            Ok(written) => left = &left[written..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return false,
        }
    }
    true
}

/// An exit status as this program's own.
pub(super) fn status(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(255)
}
