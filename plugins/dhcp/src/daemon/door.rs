//! Connections of callers. Nobody is waited for: each is read and written as far as it goes.

use super::note;
use crate::clock::Time;
use crate::protocol::{self, Reply, Request};
use cni_types::Error;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// How long a caller may take to say what it wants.
const ASKING: Duration = Duration::from_secs(10);
/// How long nobody is let in where the kernel has no descriptor to give.
const REST: Duration = Duration::from_millis(200);
/// How many callers there may be; more wait in the socket's queue.
const MOST: usize = 1024;

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Until when it has to have asked; never once it has.
    until: Time,
    /// Whether its last answer is written, and it may go.
    answered: bool,
}

/// The listener, and everybody who came.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    connections: BTreeMap<u64, Connection>,
    last: u64,
    /// Until when nobody is let in, as there was no descriptor left.
    rest: Time,
}

/// What a caller did.
#[derive(Debug)]
pub(crate) enum Word {
    /// It asked for something.
    Asked(Box<Request>),
    /// It is gone.
    Left,
    /// Nothing yet.
    Nothing,
}

impl Door {
    /// A door for callers of `listener`, which must not block.
    pub(crate) fn new(listener: UnixListener) -> Door {
        Door { listener, connections: BTreeMap::new(), last: 0, rest: Time::default() }
    }

    /// The listener, while there is room for further callers.
    pub(crate) fn listener(&self, now: Time) -> Option<BorrowedFd<'_>> {
        (self.connections.len() < MOST && now >= self.rest).then(|| self.listener.as_fd())
    }

    /// All callers, and whether something is to be written to each.
    pub(crate) fn callers(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, bool)> {
        self.connections.iter().map(|(id, c)| (*id, c.stream.as_fd(), !c.output.is_empty()))
    }

    /// When the next caller has been silent for too long, or callers are let in again.
    pub(crate) fn wake(&self, now: Time) -> Time {
        let rest = Some(self.rest).filter(|rest| *rest > now);
        self.connections.values().map(|c| c.until).chain(rest).min().unwrap_or(Time::NEVER)
    }

    /// Lets callers in.
    pub(crate) fn accept(&mut self, now: Time) {
        while self.connections.len() < MOST {
            let accepted = self.listener.accept();
            let stream = match accepted.and_then(|(s, _)| s.set_nonblocking(true).map(|()| s)) {
                Ok(stream) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(fault) => {
                    // No descriptor is left, which passes.
                    note("a caller cannot be let in", fault);
                    self.rest = now.after(REST);
                    return;
                }
            };
            self.last += 1;
            let (input, output) = (Vec::new(), Vec::new());
            let until = now.after(ASKING);
            let connection = Connection { stream, input, output, until, answered: false };
            self.connections.insert(self.last, connection);
        }
    }

    /// Reads what a caller says.
    pub(crate) fn read(&mut self, id: u64) -> Word {
        let Some(connection) = self.connections.get_mut(&id) else { return Word::Nothing };
        let mut buffer = [0; 16 << 10];
        loop {
            match connection.stream.read(&mut buffer) {
                Ok(0) => return self.gone(id),
                Ok(count) => connection.input.extend(buffer.iter().take(count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.gone(id),
            }
        }
        if connection.until == Time::NEVER {
            // It has asked already; what it says now is nothing.
            connection.input.clear();
            return Word::Nothing;
        }
        match protocol::take(&mut connection.input) {
            Ok(Some(request)) => {
                connection.until = Time::NEVER;
                Word::Asked(Box::new(request))
            }
            Ok(None) => Word::Nothing,
            Err(fault) => {
                connection.until = Time::NEVER;
                self.answer(id, &fault.into());
                Word::Nothing
            }
        }
    }

    fn gone(&mut self, id: u64) -> Word {
        self.connections.remove(&id);
        Word::Left
    }

    /// Lets go of callers who do not ask.
    pub(crate) fn close_silent(&mut self, now: Time) {
        self.connections.retain(|_, connection| connection.until > now);
    }

    /// Says something to a caller, if it is there still.
    pub(crate) fn answer(&mut self, id: u64, reply: &Reply) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let frame = protocol::encode(reply)
            .or_else(|fault: Error| protocol::encode(&Reply::from(fault)))
            .unwrap_or_default();
        connection.output.extend(frame);
        connection.answered |= !matches!(reply, Reply::Working { .. });
        self.write(id);
    }

    /// Writes what is left to be said to a caller. One that has been told everything is let go.
    pub(crate) fn write(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        while !connection.output.is_empty() {
            match connection.stream.write(&connection.output) {
                Ok(count) => drop(connection.output.drain(..count)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                // It is noticed to be gone when it is read.
                Err(_) => return,
            }
        }
        if connection.answered {
            self.connections.remove(&id);
        }
    }
}
