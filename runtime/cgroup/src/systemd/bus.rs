//! A connection to systemd: directly, or by way of the message bus.

use super::wire::{Call, ERROR, FIXED, Message, Out, RETURN, SIGNAL, total};
use crate::error::{Error, Kind, Result};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::env;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A connection, and when all that is done with it must be done.
#[derive(Debug)]
pub(crate) struct Bus {
    stream: UnixStream,
    address: PathBuf,
    until: Instant,
    serial: u32,
    removed: Vec<(String, String)>,
}

/// What came back of a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The texts of the result.
    Done(Vec<String>),
    /// The name of an error and its text.
    Refused { name: String, text: String },
}

/// An object of the message bus itself.
const DAEMON: Call = Call {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
    signature: "",
};

const MANAGER: Call = Call {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "Subscribe",
    signature: "",
};

impl Bus {
    /// Connects to the system's systemd, or to the user's. Root is let in at systemd's own socket,
    /// which needs no bus to run; else the bus is asked.
    pub(crate) fn connect(user: bool, limit: Duration) -> Result<Self> {
        let until = Instant::now() + limit;
        let (own, bus) = addresses(user);
        match Self::open(own, until) {
            Ok(direct) => Ok(direct),
            Err(e) if e.kind() == Kind::Timeout => Err(e),
            Err(first) => {
                let mut bus = Self::open(bus, until)
                    .map_err(|second| second.hint(format_args!("and before: {first}")))?;
                bus.enter()?;
                Ok(bus)
            }
        }
    }

    fn open(address: PathBuf, until: Instant) -> Result<Self> {
        let fail = |e: io::Error| Error::io(&address, "connect to systemd", e);
        let name = SocketAddrUnix::new(&address).map_err(|e| fail(e.into()))?;
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|e| fail(e.into()))?;
        // A full queue makes connect wait as long as sending may.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        set_socket_timeout(&socket, Timeout::Send, Some(left)).map_err(|e| fail(e.into()))?;
        connect(&socket, &name).map_err(|e| fail(e.into()))?;
        let stream = UnixStream::from(socket);
        let mut bus = Self { stream, address, until, serial: 0, removed: Vec::new() };
        bus.authenticate()?;
        Ok(bus)
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
                    return Err(self
                        .refused(String::from_utf8_lossy(&line).trim())
                        .of_kind(Kind::NoPermission));
                }
            }
            lines += 1;
            line.clear();
        }
    }

    /// What the message bus wants first, and that systemd's signals come this way.
    fn enter(&mut self) -> Result<()> {
        self.expect(&DAEMON, &Out::default())?;
        let mut rule = Out::default();
        rule.text(
            "type='signal',sender='org.freedesktop.systemd1',\
             interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
        )?;
        self.expect(&Call { member: "AddMatch", signature: "s", ..DAEMON }, &rule)?;
        self.expect(&MANAGER, &Out::default())?;
        Ok(())
    }

    /// A call of systemd's manager.
    pub(crate) fn manager(
        &mut self,
        member: &'static str,
        signature: &'static str,
        body: &Out,
    ) -> Result<Answer> {
        self.call(&Call { member, signature, ..MANAGER }, body)
    }

    /// A property of systemd's manager, if it is a text.
    pub(crate) fn property(&mut self, name: &str) -> Result<String> {
        let mut body = Out::default();
        body.text(MANAGER.interface)?;
        body.text(name)?;
        let interface = "org.freedesktop.DBus.Properties";
        let call = Call { interface, member: "Get", signature: "ss", ..MANAGER };
        let texts = self.expect(&call, &body)?;
        texts.into_iter().next().ok_or_else(|| self.refused("a property is not a text"))
    }

    fn expect(&mut self, call: &Call, body: &Out) -> Result<Vec<String>> {
        match self.call(call, body)? {
            Answer::Done(texts) => Ok(texts),
            Answer::Refused { name, text } => {
                Err(self.refused(&format!("{}: {text} ({name})", call.member)))
            }
        }
    }

    fn call(&mut self, call: &Call, body: &Out) -> Result<Answer> {
        self.serial += 1;
        let serial = self.serial;
        let message = call.message(serial, body)?;
        self.send(&message)?;
        loop {
            let message = self.next()?;
            if message.reply_to != Some(serial) {
                continue;
            }
            match message.kind {
                RETURN => return Ok(Answer::Done(message.texts()?)),
                ERROR => {
                    let text = message.texts()?.into_iter().next().unwrap_or_default();
                    return Ok(Answer::Refused { name: message.error, text });
                }
                _ => {}
            }
        }
    }

    /// Waits until a job has ended, and tells its result.
    pub(crate) fn wait_job(&mut self, job: &str) -> Result<String> {
        loop {
            if let Some((_, result)) = self.removed.iter().find(|(path, _)| path == job) {
                return Ok(result.clone());
            }
            self.next()?;
        }
    }

    /// The next message; jobs that it tells to have ended are remembered.
    fn next(&mut self) -> Result<Message> {
        let mut fixed = [0; FIXED];
        self.receive(&mut fixed)?;
        let mut bytes = vec![0; total(&fixed)?];
        bytes[..FIXED].copy_from_slice(&fixed);
        self.receive(&mut bytes[FIXED..])?;
        let message = Message::parse(&bytes)?;
        if message.kind == SIGNAL && message.member == "JobRemoved" {
            // id, job, unit, result
            if let [_, job, _, result] = message.texts()?.as_slice() {
                self.removed.push((job.clone(), result.clone()));
            }
        }
        Ok(message)
    }

    fn refused(&self, what: &str) -> Error {
        Error::new(Kind::Systemd, self.address.display(), what)
    }

    fn left(&self) -> Result<Duration> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Error::new(
                Kind::Timeout,
                self.address.display(),
                "systemd did not answer in time",
            )),
            left => Ok(left),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.left()?;
        self.stream
            .set_write_timeout(Some(left))
            .and_then(|()| self.stream.write_all(bytes))
            .map_err(|e| self.failed("send", e))
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
                Err(e) => return Err(self.failed("receive", e)),
            }
        }
        Ok(())
    }

    fn failed(&self, verb: &str, e: io::Error) -> Error {
        let late = e.kind() == io::ErrorKind::WouldBlock;
        let error = Error::io(&self.address, verb, e);
        if late { error.of_kind(Kind::Timeout) } else { error }
    }
}

/// systemd's own socket, and the bus.
fn addresses(user: bool) -> (PathBuf, PathBuf) {
    if !user {
        return ("/run/systemd/private".into(), "/run/dbus/system_bus_socket".into());
    }
    let runtime = env::var_os("XDG_RUNTIME_DIR").map_or_else(
        || PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw())),
        PathBuf::from,
    );
    let named = env::var("DBUS_SESSION_BUS_ADDRESS").ok();
    let bus = named.as_deref().and_then(unix_path).map_or(runtime.join("bus"), Path::to_owned);
    (runtime.join("systemd/private"), bus)
}

/// The path in a bus address such as `unix:path=/run/user/1/bus,guid=...`.
fn unix_path(address: &str) -> Option<&Path> {
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
        let server = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let start = Instant::now();
        let error = Bus::open(path.clone(), start + Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout, "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
        for (said, kind) in [
            (&b"REJECTED EXTERNAL\r\n"[..], Kind::NoPermission),
            (&[b'x'; 600][..], Kind::Systemd),
            (b"OK", Kind::Systemd),
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
                Bus::open(path.clone(), Instant::now() + Duration::from_secs(5)).unwrap_err()
            });
            assert_eq!(thread.kind(), kind, "{thread}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
