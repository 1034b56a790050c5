//! What a server gave, and until when.

use crate::clock::Time;
use cni_types::{Dns, Route};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// A lease of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// With the prefix length of its subnet; 128 for IPv6, whose subnets are told by routers.
    pub(crate) address: IpNetwork,
    /// The first router of the subnet.
    pub(crate) gateway: Option<IpAddr>,
    /// In the order in which they are to be made.
    pub(crate) routes: Vec<Route>,
    /// For the interface, in bytes.
    pub(crate) mtu: Option<u32>,
    /// Resolver settings.
    pub(crate) dns: Dns,
    /// Who gave it.
    pub(crate) server: Server,
    /// When to ask its server to renew it (T1).
    pub(crate) renewal: Time,
    /// When to ask any server (T2).
    pub(crate) rebinding: Time,
    /// When it ends.
    pub(crate) expiry: Time,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Server {
    /// By its address, and the hardware address that its datagrams came from: its own or a relay's.
    V4 {
        /// Option 54.
        address: Ipv4Addr,
        /// The neighbour that leads to it.
        mac: [u8; 6],
    },
    /// By its identity (DUID).
    V6(Vec<u8>),
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Server::V4 { address, .. } => write!(f, "{address}"),
            Server::V6(duid) => duid.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

impl Lease {
    /// Whether pods see no difference between both.
    pub(crate) fn same_terms(&self, other: &Lease) -> bool {
        self.address == other.address
            && self.gateway == other.gateway
            && self.routes == other.routes
            && self.mtu == other.mtu
            && self.dns == other.dns
    }
}

/// Which kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Family {
    /// By DHCPv4.
    Ipv4,
    /// By DHCPv6.
    Ipv6,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "DHCPv4",
            Family::Ipv6 => "DHCPv6",
        })
    }
}
