//! The DHCPv4 client (RFC 2131, 4.4).
//!
//! Idle -> Selecting -> Requesting -> Leased; a lease is bound, then renewed with its server, then
//! rebound with any. DHCPNAK and expiry lead back to Selecting.

use super::terms::{is_usable, of_ack};
use super::{Backoff, Datagram, Event, Patience, Stage, Step, pause};
use crate::clock::{Dice, Time};
use crate::lease::{Lease, Server};
use crate::wire::v4::{Kind, Message, code};
use std::net::{IpAddr, Ipv4Addr};

/// The largest message that is understood, in bytes: what a usual link carries.
const LARGEST: u16 = 1472;

/// Who asks, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The interface's hardware address.
    pub(crate) mac: [u8; 6],
    /// Option 61, with its first byte.
    pub(crate) client_id: Vec<u8>,
    /// Whether answers have to be sent to everybody.
    pub(crate) broadcast: bool,
    /// Options to send along.
    pub(crate) provide: Vec<(u8, Vec<u8>)>,
    /// Options to ask for, in this order.
    pub(crate) request: Vec<u8>,
}

#[derive(Clone, Debug)]
enum State {
    /// Nothing was sent yet; the address that it had before is asked for.
    Idle(Option<Ipv4Addr>),
    /// DHCPDISCOVER was sent, or is due.
    Selecting(Option<Ipv4Addr>),
    /// DHCPREQUEST for an offer was sent.
    Requesting { offer: Offer, tries: Backoff, until: Time },
    /// There is a lease.
    Leased(Box<Lease>, Stage),
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    address: Ipv4Addr,
    server: Ipv4Addr,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    who: Identity,
    patience: Patience,
    state: State,
    xid: u32,
    began: Time,
    /// Of DHCPDISCOVER, across refusals.
    rounds: Backoff,
    /// What went wrong last.
    trouble: String,
}

impl Client {
    /// A client with this lease, or without one.
    pub(crate) fn new(who: Identity, patience: Patience, lease: Option<Lease>) -> Client {
        let never = Backoff { step: Backoff::FIRST, at: Time::NEVER, sent: 0 };
        let state = match lease {
            Some(lease) => State::Leased(Box::new(lease), Stage::Bound),
            None => State::Idle(None),
        };
        let began = Time::default();
        Client { who, patience, state, xid: 0, began, rounds: never, trouble: String::new() }
    }

    pub(super) fn wake(&self) -> Time {
        match &self.state {
            State::Idle(_) => Time::NEVER,
            State::Selecting(_) => self.rounds.at,
            State::Requesting { tries, until, .. } => tries.at.min(*until),
            State::Leased(lease, stage) => stage.wake(lease),
        }
    }

    pub(super) fn begin(&mut self, now: Time, dice: &mut Dice) -> Step {
        match self.state {
            State::Idle(hint) => Step::send(self.select(now, hint, dice)),
            _ => Step::default(),
        }
    }

    pub(super) fn tick(&mut self, now: Time, dice: &mut Dice) -> Step {
        if now < self.wake() {
            return Step::default();
        }
        match &mut self.state {
            State::Idle(_) => Step::default(),
            State::Selecting(_) => {
                self.rounds.again(now, self.patience.resend, dice);
                Step::send(self.discover(now))
            }
            State::Requesting { offer, until, .. } if now >= *until => {
                let Offer { address, server } = *offer;
                self.trouble = format!("{server} offered {address} and did not confirm it");
                Step::send(self.select(now, Some(address), dice))
            }
            State::Requesting { tries, .. } => {
                tries.again(now, self.patience.resend, dice);
                Step::send(self.request(now))
            }
            State::Leased(..) => self.extend(now, dice),
        }
    }

    /// What is due with a lease.
    fn extend(&mut self, now: Time, dice: &mut Dice) -> Step {
        let State::Leased(lease, stage) = &mut self.state else { return Step::default() };
        if now >= lease.expiry {
            let (address, server) = (lease.address, lease.server.clone());
            self.trouble = format!("the lease of {address} ran out: {server} did not renew it");
            let hint = ipv4(address.ip());
            let send = Some(self.select(now, hint, dice));
            return Step { send, event: Some(Event::Lost(self.trouble.clone())) };
        }
        let first = *stage == Stage::Bound;
        *stage = match now >= lease.rebinding {
            true => Stage::Rebinding(pause(now, lease.rebinding, lease.expiry)),
            false => Stage::Renewing(pause(now, lease.renewal, lease.rebinding)),
        };
        if first {
            self.xid = dice.number();
            self.began = now;
        }
        self.renew(now).map(Step::send).unwrap_or_default()
    }

    pub(super) fn receive(
        &mut self,
        now: Time,
        (message, mac): (&Message, [u8; 6]),
        dice: &mut Dice,
    ) -> Step {
        if !message.reply || message.xid != self.xid || message.mac != self.who.mac {
            return Step::default();
        }
        let server = message.address(code::SERVER);
        match (&self.state, message.kind) {
            (State::Selecting(_), Kind::Offer) => self.take(now, message, dice),
            (State::Requesting { .. }, Kind::Ack) => match of_ack(message, mac, now, None) {
                Ok(lease) => self.bind(lease),
                Err(cause) => self.refused(now, cause, dice),
            },
            (State::Requesting { offer, .. }, Kind::Nak)
                if server.is_none_or(|ip| ip == offer.server) =>
            {
                self.refused(now, refusal(message, offer.address), dice)
            }
            (State::Leased(lease, stage), Kind::Ack) if *stage != Stage::Bound => {
                match of_ack(message, mac, now, Some(lease)) {
                    Ok(lease) => self.bind(lease),
                    Err(cause) => {
                        self.trouble = cause;
                        Step::default()
                    }
                }
            }
            (State::Leased(lease, stage), Kind::Nak) if may_refuse(lease, *stage, server) => {
                let cause = refusal(message, lease.address.ip());
                self.trouble.clone_from(&cause);
                let send = Some(self.select(now, None, dice));
                Step { send, event: Some(Event::Lost(cause)) }
            }
            _ => Step::default(),
        }
    }

    /// Takes an offer: the first that is of use, as others may never come.
    fn take(&mut self, now: Time, message: &Message, dice: &mut Dice) -> Step {
        let Some(server) = message.address(code::SERVER).filter(|_| is_usable(message.yours))
        else {
            return Step::default();
        };
        let offer = Offer { address: message.yours, server };
        let until = now.after(self.patience.answer);
        self.state = State::Requesting { offer, tries: Backoff::first(now, dice), until };
        Step::send(self.request(now))
    }

    fn bind(&mut self, lease: Lease) -> Step {
        self.trouble.clear();
        self.state = State::Leased(Box::new(lease), Stage::Bound);
        Step::event(Event::Bound)
    }

    /// Waits for the next round: a server that refuses once may do so without end.
    fn refused(&mut self, now: Time, cause: String, dice: &mut Dice) -> Step {
        self.trouble = cause;
        self.rounds.again(now, self.patience.resend, dice);
        self.xid = dice.number();
        self.state = State::Selecting(None);
        Step::default()
    }

    fn select(&mut self, now: Time, hint: Option<Ipv4Addr>, dice: &mut Dice) -> Datagram {
        self.xid = dice.number();
        self.began = now;
        self.rounds = Backoff::first(now, dice);
        self.state = State::Selecting(hint);
        self.discover(now)
    }

    fn discover(&self, now: Time) -> Datagram {
        let mut message = self.message(Kind::Discover, now);
        message.broadcast = self.who.broadcast;
        if let State::Selecting(Some(hint)) = self.state {
            message.options.insert(code::REQUESTED_ADDRESS, hint.octets().into());
        }
        Datagram::Broadcast { from: Ipv4Addr::UNSPECIFIED, payload: message.encode() }
    }

    fn request(&self, now: Time) -> Datagram {
        let mut message = self.message(Kind::Request, now);
        message.broadcast = self.who.broadcast;
        if let State::Requesting { offer, .. } = &self.state {
            message.options.insert(code::REQUESTED_ADDRESS, offer.address.octets().into());
            message.options.insert(code::SERVER, offer.server.octets().into());
        }
        Datagram::Broadcast { from: Ipv4Addr::UNSPECIFIED, payload: message.encode() }
    }

    /// DHCPREQUEST for more time: to the server of the lease, or to all.
    fn renew(&self, now: Time) -> Option<Datagram> {
        let State::Leased(lease, stage) = &self.state else { return None };
        let (from, server) = ends(lease)?;
        let mut message = self.message(Kind::Request, now);
        message.client = from;
        let payload = message.encode();
        Some(match stage {
            Stage::Rebinding(_) => Datagram::Broadcast { from, payload },
            _ => Datagram::Unicast { from, to: server.0, payload },
        })
    }

    pub(super) fn release(&self, dice: &mut Dice) -> Option<Datagram> {
        let State::Leased(lease, _) = &self.state else { return None };
        let (from, (to, mac)) = ends(lease)?;
        let mut message = Message::new(Kind::Release, dice.number(), self.who.mac);
        message.client = from;
        message.options.insert(code::CLIENT_ID, self.who.client_id.clone());
        message.options.insert(code::SERVER, to.octets().into());
        Some(Datagram::Neighbour { from, to, mac, payload: message.encode() })
    }

    fn message(&self, kind: Kind, now: Time) -> Message {
        let mut message = Message::new(kind, self.xid, self.who.mac);
        message.secs = u16::try_from(now.since(self.began).as_secs()).unwrap_or(u16::MAX);
        let options = &mut message.options;
        options.insert(code::CLIENT_ID, self.who.client_id.clone());
        options.insert(code::LARGEST, LARGEST.to_be_bytes().into());
        if !self.who.request.is_empty() {
            options.insert(code::WANTED, self.who.request.clone());
        }
        for (number, value) in &self.who.provide {
            options.insert(*number, value.clone());
        }
        message
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Leased(lease, _) => Some(lease),
            _ => None,
        }
    }

    pub(super) fn is_asking(&self) -> bool {
        !matches!(self.state, State::Idle(_) | State::Leased(_, Stage::Bound))
    }

    pub(super) fn is_rebinding(&self) -> bool {
        matches!(self.state, State::Leased(_, Stage::Rebinding(_)))
    }

    pub(super) fn plight(&self) -> String {
        let mut text = match &self.state {
            State::Idle(_) => "nothing was sent yet".to_owned(),
            State::Selecting(_) => {
                format!("DHCPDISCOVER was sent {}, and no DHCPOFFER came", times(self.rounds.sent))
            }
            State::Requesting { offer, tries, .. } => {
                let (Offer { address, server }, sent) = (offer, times(tries.sent));
                format!(
                    "{server} offered {address}, DHCPREQUEST was sent {sent}, and no DHCPACK came"
                )
            }
            State::Leased(lease, Stage::Bound) => format!("{} is leased", lease.address),
            State::Leased(lease, _) => {
                format!("DHCPREQUEST for more time of {} has no answer", lease.address)
            }
        };
        if !self.trouble.is_empty() {
            text = format!("{text}; before that: {}", self.trouble);
        }
        text
    }
}

/// Whether a DHCPNAK ends the lease: while only its own server is asked, only that may.
fn may_refuse(lease: &Lease, stage: Stage, server: Option<Ipv4Addr>) -> bool {
    let own = ends(lease).map(|(_, (address, _))| address);
    match stage {
        Stage::Bound => false,
        Stage::Renewing(_) => server.is_none() || server == own,
        Stage::Rebinding(_) => true,
    }
}

fn refusal(message: &Message, address: impl std::fmt::Display) -> String {
    let server = message.address(code::SERVER).map_or("a server".to_owned(), |ip| ip.to_string());
    let words = message.options.get(&code::TEXT).map(|text| String::from_utf8_lossy(text));
    let words: String = words.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let said = if words.is_empty() { String::new() } else { format!(": {words}") };
    format!("{server} refused {address} (DHCPNAK{said})")
}

pub(super) fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn ipv4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

/// The leased address, and the server with the hardware address that leads to it.
fn ends(lease: &Lease) -> Option<(Ipv4Addr, (Ipv4Addr, [u8; 6]))> {
    match (ipv4(lease.address.ip()), &lease.server) {
        (Some(from), Server::V4 { address, mac }) => Some((from, (*address, *mac))),
        _ => None,
    }
}

#[cfg(test)]
#[path = "v4_tests.rs"]
mod tests;
