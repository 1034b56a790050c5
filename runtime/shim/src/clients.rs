//! Connections of daemons: one, or two while a new one takes over.

use crate::error::{Result, io};
use crate::pod::Pod;
use crate::request;
use crate::work::{Answered, Ticket};
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::SocketFlags;
use shim_protocol::wire::{Incoming, Outgoing};
use shim_protocol::{Answer, Call, Error, Event, Kind, Message, Reply, Request, frame};
use std::collections::VecDeque;

/// Most bytes that wait for one client: one that does not read is cut off, and asks for the state of
/// things when it comes again.
const WAITING_MAX: usize = 8 << 20;

/// A connection.
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) socket: OwnedFd,
    incoming: Incoming,
    outgoing: VecDeque<Outgoing>,
    greeted: bool,
    over: bool,
}

/// All connections.
#[derive(Default)]
pub(crate) struct Clients {
    list: Vec<Client>,
    count: u64,
}

impl Clients {
    /// Takes a connection that waits, of the user that this program runs as.
    pub(crate) fn accept(&mut self, listener: &OwnedFd) -> Result<()> {
        let fail = |errno| io("shim's socket", "accept", errno);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match rustix::net::accept_with(listener, flags) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED) => return Ok(()),
            other => other.map_err(fail)?,
        };
        let peer = rustix::net::sockopt::socket_peercred(&socket).map_err(fail)?;
        if peer.uid == rustix::process::geteuid() {
            self.count += 1;
            self.list.push(Client {
                number: self.count,
                socket,
                incoming: Incoming::default(),
                outgoing: VecDeque::new(),
                greeted: false,
                over: false,
            });
        }
        Ok(())
    }

    /// What to wait for on each.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (u64, &OwnedFd, PollFlags)> {
        self.list.iter().map(|client| {
            let out = if client.outgoing.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            (client.number, &client.socket, PollFlags::IN | out)
        })
    }

    /// Reads, and begins what is asked; writes what waits.
    pub(crate) fn serve(&mut self, number: u64, pod: &mut Pod) {
        let Some(client) = self.list.iter_mut().find(|client| client.number == number) else {
            return;
        };
        client.push();
        match client.incoming.receive(client.socket.as_fd()) {
            Ok(true) => client.take_requests(pod),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(false) | Err(_) => client.over = true,
        }
    }

    /// Sends an answer, if its client is still there.
    pub(crate) fn answer(&mut self, ticket: Ticket, answered: Answered) {
        let client = self.list.iter_mut().find(|client| client.number == ticket.client);
        if let Some(client) = client {
            client.answer(ticket.request, answered);
        }
    }

    /// Tells all who have said who they are.
    pub(crate) fn tell(&mut self, events: Vec<Event>) {
        for event in events {
            let message = Message::Event { event };
            for client in self.list.iter_mut().filter(|client| client.greeted) {
                client.say(&message, Vec::new());
            }
        }
    }

    /// Forgets those that are gone.
    pub(crate) fn sweep(&mut self) {
        self.list.retain(|client| !client.over);
    }

    /// Whether all was sent.
    pub(crate) fn is_quiet(&self) -> bool {
        self.list.iter().all(|client| client.outgoing.is_empty())
    }
}

impl Client {
    fn take_requests(&mut self, pod: &mut Pod) {
        while !self.over {
            let request = match self.incoming.take::<Request>() {
                Ok(None) => return,
                Ok(Some(request)) => request,
                // Where the next frame begins is not known any more.
                Err(_) => return self.over = true,
            };
            let Ok(fds) = self.incoming.take_fds(request.fds) else { return self.over = true };
            let ticket = Ticket { client: self.number, request: request.id };
            let begun = request.call().and_then(|call| {
                self.check_greeting(&call)?;
                request::begin(pod, ticket, call, fds)
            });
            match begun {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    self.greeted |= matches!(answer, Answer::Shim(_));
                    self.answer(ticket.request, (Ok(answer), Vec::new()));
                }
                Err(error) => self.answer(ticket.request, (Err(error), Vec::new())),
            }
        }
    }

    fn check_greeting(&self, call: &Call) -> Result<()> {
        if self.greeted || matches!(call, Call::Hello { .. }) {
            return Ok(());
        }
        Err(Error::new(Kind::Precondition, "connection", "begins with hello"))
    }

    fn answer(&mut self, id: u64, (result, fds): Answered) {
        self.say(&Message::Reply(Reply { id, fds: fds.len(), result }), fds);
    }

    fn say(&mut self, message: &Message, fds: Vec<OwnedFd>) {
        match frame::encode(message) {
            Ok(bytes) => self.outgoing.push_back(Outgoing::new(bytes, fds)),
            Err(error) => {
                crate::end::complain(&error);
                self.over = true;
            }
        }
        self.push();
    }

    fn push(&mut self) {
        while let Some(first) = self.outgoing.front_mut() {
            match first.send(self.socket.as_fd()) {
                Ok(()) => drop(self.outgoing.pop_front()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.over = true;
                    self.outgoing.clear();
                }
            }
        }
        let waiting: usize = self.outgoing.iter().map(Outgoing::left).sum();
        if waiting > WAITING_MAX {
            self.over = true;
        }
    }
}
