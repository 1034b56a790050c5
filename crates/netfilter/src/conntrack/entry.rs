//! One tracked connection, and the wish for some.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Address family of a table of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Sender.
    pub from: IpAddr,
    /// Receiver.
    pub to: IpAddr,
    /// Port of the sender.
    pub from_port: u16,
    /// Port of the receiver.
    pub to_port: u16,
}

/// A tracked connection of a protocol with ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// IP protocol number: 6 TCP, 17 UDP, 132 SCTP.
    pub protocol: u8,
    /// As the first packet was sent.
    pub original: Tuple,
    /// As the answer is expected; differs from the reverse of `original` by NAT.
    pub reply: Tuple,
    /// Zone, 0 where none is used.
    pub zone: u16,
    /// The kernel's identity of this entry, so that a successor is not taken for it.
    pub id: u32,
}

/// What connections are meant; an absent field means any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// IP protocol number.
    pub protocol: u8,
    /// Receiver of the first packet, before NAT.
    pub to: Option<IpAddr>,
    /// Port of that receiver.
    pub to_port: Option<u16>,
    /// Who answers, after NAT: the pod.
    pub answered_by: Option<IpAddr>,
}

impl Filter {
    /// All connections of an IP protocol.
    pub fn protocol(protocol: u8) -> Filter {
        Filter { protocol, to: None, to_port: None, answered_by: None }
    }

    /// Whether `entry` is meant.
    pub fn admits(&self, entry: &Entry) -> bool {
        self.protocol == entry.protocol
            && self.to.is_none_or(|to| to == entry.original.to)
            && self.to_port.is_none_or(|port| port == entry.original.to_port)
            && self.answered_by.is_none_or(|from| from == entry.reply.from)
    }
}
