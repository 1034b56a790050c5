//! What the copying thread does when something can be read or written.

use super::line::Stream;
use super::sink::{Sink, send};
use super::thread::{Client, Copying, Role};
use super::{Order, Shared, Streams};
use crate::error::Result;
use crate::stdio::unblock;
use crate::work;
use rustix::event::PollFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use shim_protocol::{Error, Kind};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;
/// Most pieces that are copied once the copier is told to stop.
const REST: usize = 64;
/// How often a terminal that nobody has open is looked at again.
const DESERTED: Duration = Duration::from_millis(500);

impl Copying {
    pub(super) fn serve(&mut self, role: Role, seen: PollFlags, shared: &Shared) {
        match role {
            Role::Wake => {
                work::quiet(&shared.wake);
                self.follow_orders(shared);
            }
            Role::Source(index) => self.copy_output(index),
            Role::Input => self.pass_input(),
            Role::Typing(index) => self.take_typed(index),
            Role::Sink(index, which) => {
                let Some(client) = self.clients.get_mut(index) else { return };
                let gone = seen.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
                let sink = &mut client.sinks[which];
                if gone || sink.as_mut().is_some_and(|sink| !sink.push()) {
                    *sink = None;
                }
            }
        }
    }

    fn follow_orders(&mut self, shared: &Shared) {
        let orders = {
            let mut orders = shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
            orders.as_mut().map(std::mem::take).unwrap_or_default()
        };
        for order in orders {
            match order {
                Order::Attach(streams, told) => told(self.attach(streams)),
                Order::CloseStdin(told) => {
                    self.close_stdin();
                    told(Ok(()));
                }
                Order::ReopenLog(told) => {
                    told(self.log.as_mut().map_or(Ok(()), |log| log.reopen()));
                }
                Order::Drain(told) => {
                    self.exited = true;
                    self.draining.push(told);
                    // What it wrote last may be in a terminal that nobody has open any more.
                    for source in &mut self.sources {
                        source.deserted = None;
                    }
                }
                Order::End => self.ending = true,
            }
        }
    }

    fn attach(&mut self, streams: Streams) -> Result<()> {
        if streams.stdin.is_some() && self.stdin.is_none() {
            let cause = "the container has no input, or it has ended";
            return Err(Error::new(Kind::Precondition, "attach", cause));
        }
        let given = [&streams.stdin, &streams.stdout, &streams.stderr];
        given.into_iter().flatten().try_for_each(unblock)?;
        let sinks = [streams.stdout.map(Sink::new), streams.stderr.map(Sink::new)];
        self.clients.push(Client { stdin: streams.stdin, typed: Vec::new(), sinks });
        Ok(())
    }

    fn close_stdin(&mut self) {
        if !self.is_terminal {
            self.stdin = None;
        }
        for client in &mut self.clients {
            client.stdin = None;
            client.typed = Vec::new();
        }
    }

    /// Reads what is there of one output.
    fn copy_output(&mut self, index: usize) {
        let Some(source) = self.sources.get_mut(index) else { return };
        let mut piece = Vec::with_capacity(PIECE);
        let spare = rustix::buffer::spare_capacity(&mut piece);
        match rustix::io::read(&source.fd, spare) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A terminal says so when no process has it open, which may change.
            Err(Errno::IO) if !self.exited => {
                source.deserted = Some(Instant::now() + DESERTED);
            }
            Ok(0) | Err(_) => self.end_output(index),
            Ok(_) => {
                source.deserted = None;
                let stream = source.stream;
                self.count(piece.len());
                self.give_out(stream, &piece);
            }
        }
    }

    fn give_out(&mut self, stream: Stream, piece: &[u8]) {
        if let Some(log) = &mut self.log {
            log.add(stream, piece);
        }
        for client in &mut self.clients {
            let sink = &mut client.sinks[place(stream)];
            if sink.as_mut().is_some_and(|sink| !sink.add(piece)) {
                *sink = None;
            }
        }
    }

    fn count(&mut self, bytes: usize) {
        if self.rate == 0 {
            return;
        }
        let now = Instant::now();
        let (began, came) = self.second.unwrap_or((now, 0));
        let over = now.saturating_duration_since(began) >= Duration::from_secs(1);
        self.second = Some(if over { (now, bytes as u64) } else { (began, came + bytes as u64) });
    }

    fn end_output(&mut self, index: usize) {
        let source = self.sources.swap_remove(index);
        if let Some(log) = &mut self.log {
            log.end(source.stream);
        }
        // More of it will not come: clients see its end once they have read what is left.
        if !self.sources.is_empty() {
            for client in &mut self.clients {
                let sink = &mut client.sinks[place(source.stream)];
                if sink.as_ref().is_some_and(|sink| !sink.has_left()) {
                    *sink = None;
                }
            }
        }
    }

    /// Reads from a client what the container will read.
    fn take_typed(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let Some(stdin) = &client.stdin else { return };
        let mut piece = [0; 4096];
        match rustix::io::read(stdin, &mut piece) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => {
                client.stdin = None;
                if self.stdin_once && client.typed.is_empty() {
                    self.close_stdin();
                }
            }
            Ok(read) => {
                client.typed.extend_from_slice(&piece[..read]);
                self.pass_input();
            }
        }
    }

    /// Writes to the container what its clients typed.
    fn pass_input(&mut self) {
        let Some(stdin) = &self.stdin else { return };
        let mut closed = false;
        for client in &mut self.clients {
            match send(stdin, &client.typed) {
                Ok(sent) if sent == client.typed.len() => client.typed = Vec::new(),
                Ok(sent) => drop(client.typed.drain(..sent)),
                Err(_) => closed = true,
            }
        }
        if closed {
            self.close_stdin();
        }
    }

    /// Cuts off clients that had their time.
    pub(super) fn cut_off(&mut self) {
        let now = Instant::now();
        for client in &mut self.clients {
            for sink in &mut client.sinks {
                if sink.as_ref().and_then(Sink::until).is_some_and(|until| until <= now) {
                    *sink = None;
                }
            }
        }
        self.clients.retain(Client::is_there);
    }

    /// Copies what is there when the copier is told to stop.
    pub(super) fn copy_rest(&mut self) {
        self.exited = true;
        // A process that goes on writing cannot hold it up.
        for _ in 0..REST {
            let Some(index) = self.sources.iter().position(|source| has_more(&source.fd)) else {
                return;
            };
            self.copy_output(index);
        }
    }

    /// Tells those who wait for the output that the container wrote before its end, once there is no
    /// more of it.
    pub(super) fn settle_drains(&mut self) {
        if self.draining.is_empty() || self.sources.iter().any(|source| has_more(&source.fd)) {
            return;
        }
        for told in self.draining.drain(..) {
            told(Ok(()));
        }
    }
}

impl Client {
    /// Whether anything of it is left.
    pub(super) fn is_there(&self) -> bool {
        self.stdin.is_some() || !self.typed.is_empty() || self.sinks.iter().any(Option::is_some)
    }
}

fn place(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

/// Whether there is something to read now; its end is.
fn has_more(fd: &OwnedFd) -> bool {
    use rustix::event::{PollFd, Timespec, poll};
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}
