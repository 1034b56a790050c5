//! The plugin's end of the daemon's socket.

use crate::protocol::{self, Call, Reply, Request};
use cni_types::{Code, Error, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the daemon may take to say anything. It waits for nobody, so this is long.
const ANSWER: Duration = Duration::from_secs(10);
/// How much longer than it said itself it may take.
const GRACE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody listens.
    NoDaemon(io::Error),
    /// The daemon ended before it answered.
    Ended,
    /// The daemon is there and does not answer, or refuses.
    Refused(Error),
}

impl Failure {
    /// As an error of the plugin; `code` where there is no daemon.
    pub(crate) fn error(self, socket: &Path, code: Code) -> Error {
        let path = socket.display();
        match self {
            Failure::NoDaemon(cause) => Error::new(
                code,
                format!("DHCP daemon at {path}: does not run: {cause}"),
            )
            .with_details(
                "start it: 'systemctl start podloom-dhcp.socket', or '/opt/cni/bin/dhcp daemon'; \
                         ipam.daemonSocketPath names another socket",
            ),
            Failure::Ended => {
                Error::new(Code::TryAgain, format!("DHCP daemon at {path}: ended in the middle"))
                    .with_details("try again; its log has the reason")
            }
            Failure::Refused(error) => error,
        }
    }
}

/// Asks the daemon at `socket`, and waits for its last answer.
///
/// # Errors
/// [`Failure`].
pub(crate) fn ask(socket: &Path, call: &Call) -> Result<Reply, Failure> {
    let mut stream = dial(socket)?;
    let request = Request { version: protocol::VERSION, call: call.clone() };
    let frame = protocol::encode(&request).map_err(Failure::Refused)?;
    let fault = |e: io::Error| match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::Refused(hangs(socket, ANSWER)),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Failure::Ended,
        _ => Failure::Refused(Error::io(socket.display(), &e)),
    };
    stream.write_all(&frame).map_err(fault)?;
    let mut received = Vec::new();
    let (mut limit, mut begin) = (ANSWER, Instant::now());
    loop {
        let unread =
            |e: Error| Failure::Refused(e.context(format!("DHCP daemon at {}", socket.display())));
        match protocol::take::<Reply>(&mut received).map_err(unread)? {
            Some(Reply::Working { within }) => {
                (limit, begin) = (Duration::from_millis(within) + GRACE, Instant::now());
                continue;
            }
            Some(Reply::Failed { code, msg, details }) => {
                let error = Error::new(Code::from_number(code), msg).with_details(details);
                return Err(Failure::Refused(error));
            }
            Some(reply) => return Ok(reply),
            None => {}
        }
        let left = limit.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Err(Failure::Refused(hangs(socket, limit)));
        }
        stream.set_read_timeout(Some(left)).map_err(fault)?;
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return Err(Failure::Ended),
            Ok(count) => received.extend(buffer.iter().take(count)),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) => return Err(fault(e)),
        }
    }
}

fn hangs(socket: &Path, limit: Duration) -> Error {
    let (path, seconds) = (socket.display(), limit.as_secs());
    Error::new(Code::TryAgain, format!("DHCP daemon at {path}: no answer within {seconds} s"))
        .with_details("see what it waits for, or restart it: leases are kept over a restart")
}

/// Connects, with a limit: a daemon that accepts nobody has a queue that fills up.
fn dial(path: &Path) -> Result<UnixStream, Failure> {
    let refused = |e: io::Error| Failure::Refused(Error::io(path.display(), &e));
    let kind = SockFlag::SOCK_CLOEXEC;
    let made =
        socket(AddressFamily::Unix, SockType::Stream, kind, None).map_err(|e| refused(e.into()))?;
    let limit = TimeVal::seconds(i64::try_from(ANSWER.as_secs()).unwrap_or(i64::MAX));
    setsockopt(&made, sockopt::SendTimeout, &limit).map_err(|e| refused(e.into()))?;
    let address = UnixAddr::new(path).map_err(|e| refused(e.into()))?;
    match connect(made.as_raw_fd(), &address).map_err(io::Error::from) {
        Ok(()) => Ok(UnixStream::from(made)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            Err(Failure::NoDaemon(e))
        }
        Err(e) if e.kind() == ErrorKind::WouldBlock => Err(Failure::Refused(hangs(path, ANSWER))),
        Err(e) => Err(refused(e)),
    }
}
