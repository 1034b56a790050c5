//! The thread that copies.

use super::line::Stream;
use super::log::Log;
use super::sink::Sink;
use super::{Shared, Told};
use crate::serve::timespec;
use crate::stdio::Ends;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How long clients may take to read what is left when all output has ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// One output of the container.
pub(super) struct Source {
    pub(super) fd: OwnedFd,
    pub(super) stream: Stream,
    /// A terminal that nobody has open at present: when to look again.
    pub(super) deserted: Option<Instant>,
}

/// A client that is attached.
pub(super) struct Client {
    pub(super) stdin: Option<OwnedFd>,
    /// Read from the client, and not yet taken by the container.
    pub(super) typed: Vec<u8>,
    pub(super) sinks: [Option<Sink>; 2],
}

/// All that is copied.
#[derive(Default)]
pub(super) struct Copying {
    pub(super) sources: Vec<Source>,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) is_terminal: bool,
    pub(super) clients: Vec<Client>,
    /// Who waits until all is copied that the container wrote before its end.
    pub(super) draining: Vec<Told>,
    pub(super) exited: bool,
    pub(super) ending: bool,
    pub(super) log: Option<Log>,
    pub(super) rate: u64,
    pub(super) stdin_once: bool,
    /// When the second began in which output is counted, and how much came in it.
    pub(super) second: Option<(Instant, u64)>,
}

/// What a descriptor of the poll is for.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Wake,
    Source(usize),
    Input,
    Typing(usize),
    Sink(usize, usize),
}

impl Copying {
    pub(super) fn pipes(ends: Ends) -> Copying {
        let source =
            |fd: Option<OwnedFd>, stream| fd.map(|fd| Source { fd, stream, deserted: None });
        let sources = [source(ends.stdout, Stream::Stdout), source(ends.stderr, Stream::Stderr)];
        Copying {
            sources: sources.into_iter().flatten().collect(),
            stdin: ends.stdin,
            ..Copying::default()
        }
    }

    pub(super) fn terminal(output: OwnedFd, input: OwnedFd) -> Copying {
        let source = Source { fd: output, stream: Stream::Stdout, deserted: None };
        Copying {
            sources: vec![source],
            stdin: Some(input),
            is_terminal: true,
            ..Copying::default()
        }
    }

    /// Copies until there is nothing to copy any more.
    pub(super) fn run(mut self, shared: &Shared) {
        while !self.ending && !self.sources.is_empty() {
            for (role, seen) in self.wait(shared) {
                self.serve(role, seen, shared);
            }
            self.clients.retain(Client::is_there);
            self.cut_off();
            self.settle_drains();
        }
        self.copy_rest();
        let left = {
            let mut orders = shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
            orders.take()
        };
        for told in self.draining.drain(..) {
            told(Ok(()));
        }
        left.into_iter().flatten().for_each(|order| order.after_end(shared));
        // The log is closed now, whatever the clients do.
        self.log = None;
        self.stdin = None;
        self.bid_farewell();
    }

    /// Waits until something can be done, and tells what.
    fn wait<'a>(&'a self, shared: &'a Shared) -> Vec<(Role, PollFlags)> {
        let now = Instant::now();
        let mut roles = vec![Role::Wake];
        let mut fds = vec![PollFd::new(&shared.wake, PollFlags::IN)];
        let mut watch = |role, fd: &'a OwnedFd, flags| {
            roles.push(role);
            fds.push(PollFd::new(fd, flags));
        };
        if !self.is_held_back(now) {
            for (index, source) in self.sources.iter().enumerate() {
                if source.deserted.is_none_or(|until| until <= now) {
                    watch(Role::Source(index), &source.fd, PollFlags::IN);
                }
            }
        }
        let typed = self.clients.iter().any(|client| !client.typed.is_empty());
        if let Some(stdin) = self.stdin.as_ref().filter(|_| typed) {
            watch(Role::Input, stdin, PollFlags::OUT);
        }
        for (index, client) in self.clients.iter().enumerate() {
            if let Some(stdin) = client.stdin.as_ref().filter(|_| client.typed.is_empty()) {
                watch(Role::Typing(index), stdin, PollFlags::IN);
            }
            for (which, sink) in client.sinks.iter().enumerate() {
                let Some(sink) = sink else { continue };
                // Without any flag, the end of the client is told.
                let flags = if sink.has_left() { PollFlags::OUT } else { PollFlags::empty() };
                watch(Role::Sink(index, which), &sink.fd, flags);
            }
        }
        let timeout = self.next_time().map(|time| timespec(time.saturating_duration_since(now)));
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            // Interrupted, or short of memory for a moment: looked at again.
            Err(_) => return Vec::new(),
        }
        let seen = roles.into_iter().zip(fds.iter().map(PollFd::revents));
        seen.filter(|(_, seen)| !seen.is_empty()).collect()
    }

    /// Whether output is left in the container for now: for a client that reads slowly, or because it
    /// wrote more than it may.
    fn is_held_back(&self, now: Instant) -> bool {
        // Of one that has ended there is little left, and its log is waited for.
        if self.exited {
            return false;
        }
        self.sinks().any(|sink| sink.until().is_some_and(|until| until > now))
            || self.next_second().is_some_and(|next| next > now)
    }

    /// When more may be taken after too much came.
    fn next_second(&self) -> Option<Instant> {
        let (began, came) = self.second?;
        (self.rate > 0 && came >= self.rate).then(|| began + Duration::from_secs(1))
    }

    fn sinks(&self) -> impl Iterator<Item = &Sink> {
        self.clients.iter().flat_map(|client| client.sinks.iter().flatten())
    }

    fn next_time(&self) -> Option<Instant> {
        let sinks = self.sinks().filter_map(Sink::until);
        let deserted = self.sources.iter().filter_map(|source| source.deserted);
        sinks.chain(deserted).chain(self.next_second()).min()
    }

    /// Lets clients read what is left, for a while.
    fn bid_farewell(&mut self) {
        let until = Instant::now() + FAREWELL;
        loop {
            for client in &mut self.clients {
                client.stdin = None;
                for sink in &mut client.sinks {
                    if sink.as_mut().is_some_and(|sink| !sink.push() || !sink.has_left()) {
                        *sink = None;
                    }
                }
            }
            let mut fds: Vec<PollFd<'_>> =
                self.sinks().map(|sink| PollFd::new(&sink.fd, PollFlags::OUT)).collect();
            let left = until.saturating_duration_since(Instant::now());
            if fds.is_empty() || left.is_zero() {
                return;
            }
            // Interrupted, it tries again.
            let _ = rustix::event::poll(&mut fds, Some(&timespec(left)));
        }
    }
}
