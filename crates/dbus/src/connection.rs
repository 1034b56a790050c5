//! A connection: to the message bus, or to a service that speaks D-Bus on a socket of its own.

use crate::error::{Error, Kind, Result};
use crate::wire::{Call, ERROR, FIXED, Message, Out, RETURN, SIGNAL, total};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::collections::VecDeque;
use std::env;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A connection, and when all that is done with it must be done.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    address: PathBuf,
    until: Instant,
    serial: u32,
    signals: VecDeque<Message>,
}

/// What came back of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The texts of the result.
    Done(Vec<String>),
    /// The name of an error and its text.
    Refused {
        /// The name.
        name: String,
        /// The text.
        text: String,
    },
}

/// An object of the message bus itself.
const DAEMON: Call<'static> = Call {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
    signature: "",
};

impl Connection {
    /// Connects to the socket at `address`; all that is done with it must be done by `until`.
    ///
    /// # Errors
    /// [`Kind::Absent`], [`Kind::Denied`], [`Kind::Timeout`], [`Kind::Protocol`], [`Kind::Io`].
    pub fn open(address: &Path, until: Instant) -> Result<Connection> {
        let fail = |e: rustix::io::Errno| Error::io(address.display(), "connect", &e.into());
        let name = SocketAddrUnix::new(address).map_err(fail)?;
        let flags = SocketFlags::CLOEXEC;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(fail)?;
        // A full queue makes connect wait as long as sending may.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        set_socket_timeout(&socket, Timeout::Send, Some(left)).map_err(fail)?;
        connect(&socket, &name).map_err(fail)?;
        let stream = UnixStream::from(socket);
        let address = address.to_owned();
        let signals = VecDeque::new();
        let mut connection = Connection { stream, address, until, serial: 0, signals };
        connection.authenticate()?;
        Ok(connection)
    }

    /// The credentials of the socket are the proof (D-Bus specification, EXTERNAL, with no name
    /// claimed, which holds inside of user namespaces too). Everything is said at once, to wait for
    /// the answer only once.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let (mut line, mut lines) = (Vec::new(), 0);
        loop {
            let mut byte = [0];
            self.receive(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 512 || lines > 4 {
                return Err(self.refused("it does not speak D-Bus"));
            }
            if !line.ends_with(b"\r\n") {
                continue;
            }
            match () {
                () if line.starts_with(b"OK ") => return Ok(()),
                () if line.starts_with(b"DATA") => {}
                () => {
                    let said = String::from_utf8_lossy(&line);
                    return Err(Error::new(Kind::Denied, self.address.display(), said.trim()));
                }
            }
            lines += 1;
            line.clear();
        }
    }

    /// What the message bus wants first of all.
    ///
    /// # Errors
    /// As of [`Connection::expect`].
    pub fn hello(&mut self) -> Result<()> {
        self.expect(&DAEMON, &Out::default()).map(|_| ())
    }

    /// Has the message bus pass on the signals that `rule` describes.
    ///
    /// # Errors
    /// As of [`Connection::expect`].
    pub fn subscribe(&mut self, rule: &str) -> Result<()> {
        let mut body = Out::default();
        body.text(rule)?;
        self.expect(&Call { member: "AddMatch", signature: "s", ..DAEMON }, &body).map(|_| ())
    }

    /// Whether somebody on the message bus has this name.
    ///
    /// # Errors
    /// As of [`Connection::call`].
    pub fn has_owner(&mut self, name: &str) -> Result<bool> {
        let mut body = Out::default();
        body.text(name)?;
        let call = Call { member: "GetNameOwner", signature: "s", ..DAEMON };
        Ok(matches!(self.call(&call, &body)?, Answer::Done(_)))
    }

    /// A call whose refusal is a failure; the texts of its result.
    ///
    /// # Errors
    /// [`Kind::Protocol`] when it is refused, and as of [`Connection::call`].
    pub fn expect(&mut self, call: &Call<'_>, body: &Out) -> Result<Vec<String>> {
        match self.call(call, body)? {
            Answer::Done(texts) => Ok(texts),
            Answer::Refused { name, text } => {
                Err(self.refused(&format!("{}: {text} ({name})", call.member)))
            }
        }
    }

    /// Calls and waits for the answer. Signals that come meanwhile are kept.
    ///
    /// # Errors
    /// [`Kind::Timeout`], [`Kind::Protocol`], [`Kind::Io`].
    pub fn call(&mut self, call: &Call<'_>, body: &Out) -> Result<Answer> {
        self.serial += 1;
        let serial = self.serial;
        let message = call.message(serial, body)?;
        self.send(&message)?;
        loop {
            let message = self.next()?;
            match message.kind {
                SIGNAL => self.signals.push_back(message),
                _ if message.reply_to != Some(serial) => {}
                RETURN => return Ok(Answer::Done(message.texts()?)),
                ERROR => {
                    let text = message.texts()?.into_iter().next().unwrap_or_default();
                    return Ok(Answer::Refused { name: message.error, text });
                }
                _ => {}
            }
        }
    }

    /// The next signal, kept or still to come.
    ///
    /// # Errors
    /// [`Kind::Timeout`], [`Kind::Protocol`], [`Kind::Io`].
    pub fn signal(&mut self) -> Result<Message> {
        loop {
            if let Some(kept) = self.signals.pop_front() {
                return Ok(kept);
            }
            let message = self.next()?;
            if message.kind == SIGNAL {
                return Ok(message);
            }
        }
    }

    fn next(&mut self) -> Result<Message> {
        let mut fixed = [0; FIXED];
        self.receive(&mut fixed)?;
        let mut bytes = vec![0; total(&fixed)?];
        bytes[..FIXED].copy_from_slice(&fixed);
        self.receive(&mut bytes[FIXED..])?;
        Message::parse(&bytes)
    }

    /// A failure of the other side.
    pub fn refused(&self, what: &str) -> Error {
        Error::new(Kind::Protocol, self.address.display(), what)
    }

    fn left(&self) -> Result<Duration> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => {
                let late = "there was no answer in time";
                Err(Error::new(Kind::Timeout, self.address.display(), late))
            }
            left => Ok(left),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.left()?;
        self.stream
            .set_write_timeout(Some(left))
            .and_then(|()| self.stream.write_all(bytes))
            .map_err(|e| Error::io(self.address.display(), "send", &e))
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let left = self.left()?;
            let read = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(&mut bytes[done..]));
            match read {
                Ok(0) => return Err(self.refused("the connection was closed")),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(self.address.display(), "receive", &e)),
            }
        }
        Ok(())
    }
}

/// The socket of the system's message bus: `DBUS_SYSTEM_BUS_ADDRESS`, or where it usually is.
pub fn system_bus() -> PathBuf {
    let named = env::var("DBUS_SYSTEM_BUS_ADDRESS").ok();
    let path = named.as_deref().and_then(unix_path);
    path.map_or_else(|| "/run/dbus/system_bus_socket".into(), Path::to_owned)
}

/// The path in a bus address such as `unix:path=/run/user/1/bus,guid=...`.
pub fn unix_path(address: &str) -> Option<&Path> {
    let first = address.split(';').find_map(|a| a.strip_prefix("unix:"))?;
    first.split(',').find_map(|part| part.strip_prefix("path=")).map(Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_buses() {
        let path = unix_path("unix:path=/run/user/1/bus,guid=1;tcp:host=x");
        assert_eq!(path, Some(Path::new("/run/user/1/bus")));
        assert_eq!(unix_path("unix:abstract=/x"), None);
        assert_eq!(unix_path("tcp:host=x"), None);
    }

    #[test]
    fn a_server_that_says_nothing_or_nonsense_is_left_in_time() {
        let dir = env::temp_dir().join(format!("podloom-bus-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("socket");
        let absent = Connection::open(&path, Instant::now() + Duration::from_secs(1));
        assert_eq!(absent.unwrap_err().kind, Kind::Absent);
        let server = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let start = Instant::now();
        let error = Connection::open(&path, start + Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind, Kind::Timeout, "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
        for (said, kind) in [
            (&b"REJECTED EXTERNAL\r\n"[..], Kind::Denied),
            (&[b'x'; 600][..], Kind::Protocol),
            (b"OK", Kind::Protocol),
        ] {
            let thread = std::thread::scope(|scope| {
                scope.spawn(|| {
                    // The first in the queue is the one that gave up.
                    loop {
                        let (mut peer, _) = server.accept().unwrap();
                        if peer.write_all(said).is_ok() {
                            let _ = peer.shutdown(std::net::Shutdown::Write);
                            let _ = peer.read_to_end(&mut Vec::new());
                            break;
                        }
                    }
                });
                Connection::open(&path, Instant::now() + Duration::from_secs(5)).unwrap_err()
            });
            assert_eq!(thread.kind, kind, "{thread}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
