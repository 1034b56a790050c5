//! The DHCPv6 client (RFC 8415, 18.2), for one address.
//!
//! Idle -> Soliciting -> Requesting -> Leased, as the other family's.

use super::terms::of_reply;
use super::v4::times;
use super::{Backoff, Datagram, Event, Patience, Stage, Step, pause};
use crate::clock::{Dice, Time};
use crate::lease::{Lease, Server};
use crate::wire::v6::{Address, Association, Kind, Message, Status, code};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// The only association of a client.
const ASSOCIATION: u32 = 1;
/// How long further servers are waited for after the first has answered. The RFC waits a second,
/// which a pod's start has not to spare.
const COLLECT: Duration = Duration::from_millis(50);
/// A server that says so wants no others to be waited for.
const AT_ONCE: u8 = 255;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The client's DUID.
    pub(crate) duid: Vec<u8>,
}

#[derive(Clone, Debug)]
enum State {
    /// Nothing was sent yet.
    Idle,
    /// SOLICIT was sent; the best answer so far, and when it is taken.
    Soliciting(Option<(Offer, Time)>),
    /// REQUEST was sent to a server; it may be for a lease that is held still.
    Requesting { offer: Offer, tries: Backoff, until: Time, held: Option<Box<Lease>> },
    /// There is a lease.
    Leased(Box<Lease>, Stage),
}

#[derive(Clone, Debug)]
struct Offer {
    server: Vec<u8>,
    preference: u8,
    address: Ipv6Addr,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    who: Identity,
    patience: Patience,
    state: State,
    xid: u32,
    began: Time,
    rounds: Backoff,
    /// The address that is asked for again.
    hint: Option<Ipv6Addr>,
    trouble: String,
}

impl Client {
    /// A client with this lease, or without one.
    pub(crate) fn new(who: Identity, patience: Patience, lease: Option<Lease>) -> Client {
        let state = match lease {
            Some(lease) => State::Leased(Box::new(lease), Stage::Bound),
            None => State::Idle,
        };
        Client {
            who,
            patience,
            state,
            xid: 0,
            began: Time::default(),
            rounds: Backoff { step: Backoff::FIRST, at: Time::NEVER, sent: 0 },
            hint: None,
            trouble: String::new(),
        }
    }

    pub(super) fn wake(&self) -> Time {
        match &self.state {
            State::Idle => Time::NEVER,
            State::Soliciting(Some((_, at))) => *at,
            State::Soliciting(None) => self.rounds.at,
            State::Requesting { tries, until, .. } => tries.at.min(*until),
            State::Leased(lease, stage) => stage.wake(lease),
        }
    }

    pub(super) fn begin(&mut self, now: Time, dice: &mut Dice) -> Step {
        match self.state {
            State::Idle => Step::send(self.solicit_anew(now, dice)),
            _ => Step::default(),
        }
    }

    pub(super) fn tick(&mut self, now: Time, dice: &mut Dice) -> Step {
        if now < self.wake() {
            return Step::default();
        }
        match &mut self.state {
            State::Idle => Step::default(),
            State::Soliciting(best) => match best.take() {
                Some((offer, _)) => self.request_from(now, offer, None, dice),
                None => {
                    self.rounds.again(now, self.patience.resend, dice);
                    Step::send(self.message(Kind::Solicit, now))
                }
            },
            State::Requesting { offer, until, held, .. } if now >= *until => {
                let address = offer.address;
                self.trouble = format!("a server offered {address} and did not confirm it");
                let event = held.take().map(|_| Event::Lost(self.trouble.clone()));
                Step { send: Some(self.solicit_anew(now, dice)), event }
            }
            State::Requesting { tries, .. } => {
                tries.again(now, self.patience.resend, dice);
                Step::send(self.message(Kind::Request, now))
            }
            State::Leased(..) => self.extend(now, dice),
        }
    }

    fn extend(&mut self, now: Time, dice: &mut Dice) -> Step {
        let State::Leased(lease, stage) = &mut self.state else { return Step::default() };
        if now >= lease.expiry {
            let cause = format!("the lease of {} ran out: no server renewed it", lease.address);
            return self.lose(now, cause, dice);
        }
        // Each of the two exchanges has a number of its own (18.2.4, 18.2.5).
        let fresh = match (*stage, now >= lease.rebinding) {
            (Stage::Rebinding(_), _) | (Stage::Renewing(_), false) => false,
            (Stage::Bound, _) | (Stage::Renewing(_), true) => true,
        };
        let kind = if now >= lease.rebinding { Kind::Rebind } else { Kind::Renew };
        *stage = match kind {
            Kind::Rebind => Stage::Rebinding(pause(now, lease.rebinding, lease.expiry)),
            _ => Stage::Renewing(pause(now, lease.renewal, lease.rebinding)),
        };
        if fresh {
            self.xid = dice.number() & 0x00ff_ffff;
            self.began = now;
        }
        Step::send(self.message(kind, now))
    }

    pub(super) fn receive(&mut self, now: Time, message: &Message, dice: &mut Dice) -> Step {
        let ours = message.xid == self.xid && message.client == self.who.duid;
        if !ours || message.server.is_empty() {
            return Step::default();
        }
        match (&self.state, message.kind) {
            (State::Soliciting(_), Kind::Advertise) => self.weigh(now, message, dice),
            (State::Requesting { offer, .. }, Kind::Reply) if message.server == offer.server => {
                self.confirmed(now, message, dice)
            }
            (State::Leased(lease, stage), Kind::Reply) => match (stage, &lease.server) {
                (Stage::Bound, _) => Step::default(),
                (Stage::Renewing(_), Server::V6(own)) if *own != message.server => Step::default(),
                _ => self.extended(now, message, dice),
            },
            _ => Step::default(),
        }
    }

    /// Keeps the best of the servers that answer.
    fn weigh(&mut self, now: Time, message: &Message, dice: &mut Dice) -> Step {
        let Some(address) = offered(message) else {
            self.trouble = refusal(message).unwrap_or("a server offered no address".to_owned());
            return Step::default();
        };
        let preference = message.preference;
        let offer = Offer { server: message.server.clone(), preference, address: address.ip };
        if preference == AT_ONCE {
            return self.request_from(now, offer, None, dice);
        }
        let State::Soliciting(best) = &mut self.state else { return Step::default() };
        match best {
            Some((known, _)) if known.preference >= preference => {}
            Some((known, _)) => *known = offer,
            None => *best = Some((offer, now.after(COLLECT))),
        }
        Step::default()
    }

    fn request_from(
        &mut self,
        now: Time,
        offer: Offer,
        held: Option<Box<Lease>>,
        dice: &mut Dice,
    ) -> Step {
        self.xid = dice.number() & 0x00ff_ffff;
        self.began = now;
        let end = held.as_ref().map_or(Time::NEVER, |lease| lease.expiry);
        let until = now.after(self.patience.answer).min(end);
        self.state = State::Requesting { offer, tries: Backoff::first(now, dice), until, held };
        Step::send(self.message(Kind::Request, now))
    }

    /// The answer to a REQUEST.
    fn confirmed(&mut self, now: Time, reply: &Message, dice: &mut Dice) -> Step {
        match given(reply, now, None) {
            Some(lease) => self.bind(lease),
            None => {
                let none = || "a server confirmed no address".to_owned();
                self.trouble = refusal(reply).unwrap_or_else(none);
                if self.rounds.at == Time::NEVER {
                    self.rounds = Backoff::first(now, dice);
                }
                self.rounds.again(now, self.patience.resend, dice);
                self.xid = dice.number() & 0x00ff_ffff;
                self.hint = None;
                let lost = self.lease().map(|_| Event::Lost(self.trouble.clone()));
                self.state = State::Soliciting(None);
                Step { send: None, event: lost }
            }
        }
    }

    /// The answer to a RENEW or REBIND.
    fn extended(&mut self, now: Time, reply: &Message, dice: &mut Dice) -> Step {
        let State::Leased(lease, _) = &self.state else { return Step::default() };
        let IpAddr::V6(address) = lease.address.ip() else { return Step::default() };
        if let Some(lease) = given(reply, now, Some(address)) {
            return self.bind(lease);
        }
        let Some(association) = own(reply) else { return Step::default() };
        let status = association.status.number;
        let ended = association.addresses.iter().any(|a| a.ip == address && a.valid == 0);
        if status == Status::NO_BINDING {
            // The server forgot; it is asked to give the same address once more (18.2.10.1).
            let offer = Offer { server: reply.server.clone(), preference: 0, address };
            self.trouble = refusal(reply).unwrap_or_default();
            let held = Some(Box::new(lease.as_ref().clone()));
            return self.request_from(now, offer, held, dice);
        }
        if ended || status == Status::NOT_ON_LINK {
            let cause = format!("a server withdrew {address}");
            return self.lose(now, cause, dice);
        }
        self.trouble = refusal(reply).unwrap_or_default();
        Step::default()
    }

    fn bind(&mut self, lease: Lease) -> Step {
        self.trouble.clear();
        self.state = State::Leased(Box::new(lease), Stage::Bound);
        Step::event(Event::Bound)
    }

    fn lose(&mut self, now: Time, cause: String, dice: &mut Dice) -> Step {
        if let State::Leased(lease, _) = &self.state
            && let IpAddr::V6(ip) = lease.address.ip()
        {
            self.hint = Some(ip);
        }
        self.trouble.clone_from(&cause);
        let send = Some(self.solicit_anew(now, dice));
        Step { send, event: Some(Event::Lost(cause)) }
    }

    fn solicit_anew(&mut self, now: Time, dice: &mut Dice) -> Datagram {
        self.xid = dice.number() & 0x00ff_ffff;
        self.began = now;
        self.rounds = Backoff::first(now, dice);
        self.state = State::Soliciting(None);
        self.message(Kind::Solicit, now)
    }

    pub(super) fn release(&self, dice: &mut Dice) -> Option<Datagram> {
        let lease = self.lease()?;
        let (Server::V6(server), IpAddr::V6(ip)) = (&lease.server, lease.address.ip()) else {
            return None;
        };
        let mut message = Message::new(Kind::Release, dice.number(), &self.who.duid);
        message.server.clone_from(server);
        message.elapsed = Some(0);
        message.association = Some(association(Some(ip)));
        Some(Datagram::Servers(message.encode()))
    }

    fn message(&self, kind: Kind, now: Time) -> Datagram {
        let mut message = Message::new(kind, self.xid, &self.who.duid);
        let hundredths = now.since(self.began).as_millis() / 10;
        message.elapsed = Some(u16::try_from(hundredths).unwrap_or(u16::MAX));
        message.wanted = vec![code::NAME_SERVERS, code::SEARCH];
        let mut address = self.hint;
        match &self.state {
            State::Requesting { offer, .. } => {
                message.server.clone_from(&offer.server);
                address = Some(offer.address);
            }
            State::Leased(lease, _) => {
                if let (Server::V6(server), Kind::Renew) = (&lease.server, kind) {
                    message.server.clone_from(server);
                }
                if let IpAddr::V6(ip) = lease.address.ip() {
                    address = Some(ip);
                }
            }
            State::Idle | State::Soliciting(_) => {}
        }
        message.association = Some(association(address));
        Datagram::Servers(message.encode())
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Leased(lease, _) => Some(lease),
            State::Requesting { held, .. } => held.as_deref(),
            _ => None,
        }
    }

    pub(super) fn is_asking(&self) -> bool {
        !matches!(self.state, State::Idle | State::Leased(_, Stage::Bound))
    }

    pub(super) fn is_rebinding(&self) -> bool {
        matches!(self.state, State::Leased(_, Stage::Rebinding(_)))
    }

    pub(super) fn plight(&self) -> String {
        let mut text = match &self.state {
            State::Idle => "nothing was sent yet".to_owned(),
            State::Soliciting(_) => {
                format!("SOLICIT was sent {}, and no ADVERTISE was of use", times(self.rounds.sent))
            }
            State::Requesting { offer, tries, .. } => {
                let (address, sent) = (offer.address, times(tries.sent));
                format!("a server offered {address}, REQUEST was sent {sent}, and no REPLY came")
            }
            State::Leased(lease, Stage::Bound) => format!("{} is leased", lease.address),
            State::Leased(lease, stage) => {
                let kind =
                    if matches!(stage, Stage::Renewing(_)) { Kind::Renew } else { Kind::Rebind };
                format!("{} of {} has no answer", kind.name(), lease.address)
            }
        };
        if !self.trouble.is_empty() {
            text = format!("{text}; before that: {}", self.trouble);
        }
        text
    }
}

fn association(address: Option<Ipv6Addr>) -> Association {
    let addresses = address.map(|ip| Address { ip, preferred: 0, valid: 0 }).into_iter().collect();
    Association { id: ASSOCIATION, addresses, ..Association::default() }
}

/// The association of this client in a server's message.
fn own(message: &Message) -> Option<&Association> {
    message.association.as_ref().filter(|association| association.id == ASSOCIATION)
}

/// The address that a server's message holds out, if it is one that an interface can have.
fn offered(message: &Message) -> Option<Address> {
    let association = own(message).filter(|_| message.status.number == 0)?;
    let usable = |a: &&Address| {
        a.valid > 0 && a.preferred <= a.valid && !a.ip.is_multicast() && !a.ip.is_unspecified()
    };
    association.addresses.iter().find(usable).filter(|_| association.status.number == 0).copied()
}

/// The lease of a REPLY; where it may hold several addresses, of this one if it can be.
fn given(reply: &Message, now: Time, known: Option<Ipv6Addr>) -> Option<Lease> {
    let association = own(reply)?;
    let first = offered(reply)?;
    let same = association.addresses.iter().find(|a| Some(a.ip) == known && a.valid > 0);
    let times = (association.renewal, association.rebinding);
    of_reply(reply, same.copied().unwrap_or(first), times, now)
}

/// Why a server gave nothing, in its own words.
fn refusal(message: &Message) -> Option<String> {
    let inner = own(message).map(|association| &association.status);
    let status = [Some(&message.status), inner].into_iter().flatten().find(|s| s.number != 0)?;
    let words = match status.number {
        Status::NO_ADDRESS => "it has no address to give (NoAddrsAvail)".to_owned(),
        Status::NOT_ON_LINK => "the address does not belong to this link (NotOnLink)".to_owned(),
        number => format!("status {number}"),
    };
    let said = if status.text.is_empty() { String::new() } else { format!(": {}", status.text) };
    Some(format!("a server refused: {words}{said}"))
}

#[cfg(test)]
#[path = "v6_tests.rs"]
mod tests;
