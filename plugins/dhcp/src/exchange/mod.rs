//! How a lease is had and kept: one state machine for each family, without any I/O.
//!
//! A machine is given the time and what was received, and tells what to send and what happened.

mod terms;
mod v4;
mod v6;

pub(crate) use v4::Identity as Identity4;
pub(crate) use v6::Identity as Identity6;

use crate::clock::{Dice, Time};
use crate::lease::{Family, Lease};
use crate::wire;
use std::net::Ipv4Addr;
use std::time::Duration;

/// How patient a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// The longest pause between two tries of the same message.
    pub(crate) resend: Duration,
    /// How long a server may take to confirm what it has offered, before all begins anew.
    pub(crate) answer: Duration,
}

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Datagram {
    /// To everybody on the link.
    Broadcast {
        /// The leased address; 0.0.0.0 without one.
        from: Ipv4Addr,
        /// The message.
        payload: Vec<u8>,
    },
    /// From the leased address to its server, by the pod's own routes.
    Unicast {
        /// The leased address.
        from: Ipv4Addr,
        /// The server.
        to: Ipv4Addr,
        /// The message.
        payload: Vec<u8>,
    },
    /// The same, by way of a neighbour: it works without an address and without asking for
    /// anybody's hardware address.
    Neighbour {
        /// The leased address.
        from: Ipv4Addr,
        /// The server.
        to: Ipv4Addr,
        /// The hardware address that leads to it.
        mac: [u8; 6],
        /// The message.
        payload: Vec<u8>,
    },
    /// To all DHCPv6 servers of the link.
    Servers(Vec<u8>),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// There is a lease: a new one, or the old one has more time.
    Bound,
    /// The lease is over, and nobody may use its address any more; why.
    Lost(String),
}

/// What comes of a moment or a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// To be sent now.
    pub(crate) send: Option<Datagram>,
    /// To be known.
    pub(crate) event: Option<Event>,
}

impl Step {
    fn send(datagram: Datagram) -> Step {
        Step { send: Some(datagram), event: None }
    }

    fn event(event: Event) -> Step {
        Step { send: None, event: Some(event) }
    }
}

/// What becomes of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is time.
    Bound,
    /// When its server is asked again.
    Renewing(Time),
    /// When all servers are asked again.
    Rebinding(Time),
}

impl Stage {
    /// When something is due with a lease in this stage.
    fn wake(self, lease: &Lease) -> Time {
        match self {
            Stage::Bound => lease.renewal,
            Stage::Renewing(at) => at.min(lease.rebinding),
            Stage::Rebinding(at) => at.min(lease.expiry),
        }
    }
}

/// When a message is sent again: soon at first, because what a link was told while it came up may
/// be lost, and then less and less often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Backoff {
    step: Duration,
    at: Time,
    sent: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);

    fn first(now: Time, dice: &mut Dice) -> Backoff {
        Backoff { step: Backoff::FIRST, at: now.after(dice.around(Backoff::FIRST)), sent: 1 }
    }

    fn again(&mut self, now: Time, most: Duration, dice: &mut Dice) {
        self.step = (self.step * 5 / 2).min(most);
        self.at = now.after(dice.around(self.step));
        self.sent += 1;
    }
}

/// When a lease's extension is asked for again: half of the time that is left, but neither often
/// nor, where there is little time, hardly ever (RFC 2131, 4.4.5).
fn pause(now: Time, begin: Time, end: Time) -> Time {
    if end == Time::NEVER {
        return now.after(Duration::from_secs(60));
    }
    let least = (end.since(begin) / 8).clamp(Duration::from_secs(1), Duration::from_secs(60));
    now.after((end.since(now) / 2).max(least)).min(end.max(now))
}

/// Renewal, rebinding and end of a lease that was given at `now` for `seconds`, with the server's
/// own figures where they make sense.
fn deadlines(now: Time, seconds: u32, renewal: Option<u32>, rebinding: Option<u32>) -> [Time; 3] {
    if seconds == u32::MAX {
        return [Time::NEVER; 3];
    }
    let whole = Duration::from_secs(seconds.into());
    let asked = |secs: Option<u32>| secs.map(|secs| Duration::from_secs(secs.into()));
    let first = asked(renewal).filter(|t| *t < whole && !t.is_zero()).unwrap_or(whole / 2);
    let second = asked(rebinding).filter(|t| *t < whole && *t > first);
    let second = second.unwrap_or_else(|| (whole * 7 / 8).max(first + (whole - first) / 2));
    [now.after(first), now.after(second), now.after(whole)]
}

/// A client of one of the families.
#[derive(Debug)]
pub(crate) enum Client {
    /// DHCPv4.
    V4(v4::Client),
    /// DHCPv6.
    V6(v6::Client),
}

/// Something that was received.
#[derive(Clone, Debug)]
pub(crate) enum Received {
    /// A DHCPv4 message, and the hardware address it came from.
    V4(wire::v4::Message, [u8; 6]),
    /// A DHCPv6 message.
    V6(wire::v6::Message),
}

macro_rules! each {
    ($self:ident, $client:ident => $do:expr) => {
        match $self {
            Client::V4($client) => $do,
            Client::V6($client) => $do,
        }
    };
}

impl Client {
    /// A DHCPv4 client with this lease, or without one.
    pub(crate) fn v4(who: Identity4, patience: Patience, lease: Option<Lease>) -> Client {
        Client::V4(v4::Client::new(who, patience, lease))
    }

    /// A DHCPv6 client with this lease, or without one.
    pub(crate) fn v6(who: Identity6, patience: Patience, lease: Option<Lease>) -> Client {
        Client::V6(v6::Client::new(who, patience, lease))
    }

    /// Its family.
    pub(crate) fn family(&self) -> Family {
        match self {
            Client::V4(_) => Family::Ipv4,
            Client::V6(_) => Family::Ipv6,
        }
    }

    /// When [`Client::tick`] is due.
    pub(crate) fn wake(&self) -> Time {
        each!(self, client => client.wake())
    }

    /// Begins where it stands: asks for an address if it has none.
    pub(crate) fn begin(&mut self, now: Time, dice: &mut Dice) -> Step {
        each!(self, client => client.begin(now, dice))
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Time, dice: &mut Dice) -> Step {
        each!(self, client => client.tick(now, dice))
    }

    /// Takes a message; one of the other family, or of somebody else's, is nothing.
    pub(crate) fn receive(&mut self, now: Time, received: &Received, dice: &mut Dice) -> Step {
        match (self, received) {
            (Client::V4(client), Received::V4(message, mac)) => {
                client.receive(now, (message, *mac), dice)
            }
            (Client::V6(client), Received::V6(message)) => client.receive(now, message, dice),
            _ => Step::default(),
        }
    }

    /// The lease, if there is one.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        each!(self, client => client.lease())
    }

    /// Whether it waits for an answer.
    pub(crate) fn is_asking(&self) -> bool {
        each!(self, client => client.is_asking())
    }

    /// Whether its lease is in danger: its own server has not renewed it in time.
    pub(crate) fn is_rebinding(&self) -> bool {
        each!(self, client => client.is_rebinding())
    }

    /// What gives the lease back, if there is one.
    pub(crate) fn release(&self, dice: &mut Dice) -> Option<Datagram> {
        each!(self, client => client.release(dice))
    }

    /// What it has sent and waits for, in words.
    pub(crate) fn plight(&self) -> String {
        each!(self, client => client.plight())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Time {
        Time::default().after(Duration::from_secs(n))
    }

    #[test]
    fn deadlines_follow_the_server_where_it_makes_sense() {
        let at = |seconds, t1, t2| deadlines(secs(100), seconds, t1, t2);
        assert_eq!(at(800, None, None), [secs(500), secs(800), secs(900)]);
        assert_eq!(at(800, Some(10), Some(20)), [secs(110), secs(120), secs(900)]);
        assert_eq!(at(800, Some(900), Some(1000)), [secs(500), secs(800), secs(900)]);
        assert_eq!(at(800, Some(760), Some(10)), [secs(860), secs(880), secs(900)]);
        assert_eq!(at(u32::MAX, Some(1), None), [Time::NEVER; 3]);
    }

    #[test]
    fn pauses_are_halves_within_bounds() {
        assert_eq!(pause(secs(0), secs(0), secs(1000)), secs(500));
        assert_eq!(pause(secs(950), secs(0), secs(1000)), secs(1000));
        assert_eq!(pause(secs(0), secs(0), secs(8)), secs(4));
        assert_eq!(pause(secs(7), secs(0), secs(8)), secs(8));
        assert_eq!(pause(secs(9), secs(0), secs(8)), secs(9));
        assert_eq!(pause(secs(9), secs(0), Time::NEVER), secs(69));
    }

    #[test]
    fn tries_are_quick_at_first() {
        let (mut dice, most) = (Dice::default(), Duration::from_secs(4));
        let mut backoff = Backoff::first(secs(0), &mut dice);
        assert!(backoff.at <= secs(0).after(Duration::from_millis(166)));
        for _ in 0..9 {
            backoff.again(secs(0), most, &mut dice);
        }
        assert_eq!((backoff.step, backoff.sent), (most, 10));
    }
}
