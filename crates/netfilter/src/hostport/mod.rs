//! Host ports forwarded to pods: the rules as data, and their writers for iptables and nftables.
//!
//! The layout is that of the reference portmap plugin, so that either can remove and check what
//! the other made: `CNI-HOSTPORT-DNAT` and a chain per container in iptables, the table
//! `cni_hostport` in nftables. What the reference cannot express (which network a rule is for)
//! stands beside it in places that it does not read.

pub mod chain;
pub mod condition;
pub mod iptables;
mod nftables;
pub mod registry;
mod ruleset;

pub use crate::conntrack::Family;
pub use iptables::Iptables;
pub use nftables::{Hints, Listed, Nftables, Placed};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// SCTP.
    Sctp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// All of them, in the order of their names.
    pub const ALL: [Protocol; 3] = [Protocol::Sctp, Protocol::Tcp, Protocol::Udp];

    /// The name in lower case, as iptables and nftables write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Sctp => "sctp",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    /// The protocol of a name in any case.
    pub fn parse(text: &str) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|p| text.eq_ignore_ascii_case(p.as_str()))
    }

    /// The number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Sctp => 132,
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// Whether a connection entry outlives its rule to a harm: a peer that goes on sending keeps
    /// it alive and stays connected to where the rule once led.
    pub fn lingers(self) -> bool {
        self != Protocol::Tcp
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One port of the node, and the port of the pod it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port on the node, not 0.
    pub host_port: u16,
    /// Port in the pod, not 0.
    pub container_port: u16,
    /// Address on the node; an unspecified one means all of its family, none means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

impl Mapping {
    /// Whether the mapping has a part in `family`.
    pub fn is_in(&self, family: Family) -> bool {
        self.host_ip.is_none_or(|ip| Family::of(ip) == family)
    }

    /// The one address of the node that it is for, unless it is for all.
    pub fn address(&self) -> Option<IpAddr> {
        self.host_ip.filter(|ip| !ip.is_unspecified())
    }

    /// Whether both would catch the same packets.
    pub fn overlaps(&self, other: &Mapping) -> bool {
        let meet = match (self.host_ip, other.host_ip) {
            (None, _) | (_, None) => true,
            (Some(a), Some(b)) => {
                a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
            }
        };
        meet && self.protocol == other.protocol && self.host_port == other.host_port
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}/{}", self.host_port, self.protocol),
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:{}/{}", self.host_port, self.protocol),
            None => write!(f, "{}/{}", self.host_port, self.protocol),
        }
    }
}

/// Whose mappings they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Name of the network.
    pub network: String,
    /// Container.
    pub container_id: String,
    /// Interface in the container; empty where it is not known, as for rules of the reference.
    pub ifname: String,
}

impl Owner {
    /// Whether both may be the same attachment: an unknown interface is any.
    pub fn may_be(&self, other: &Owner) -> bool {
        self.network == other.network
            && self.container_id == other.container_id
            && (self.ifname == other.ifname || self.ifname.is_empty() || other.ifname.is_empty())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {:?}", self.container_id)?;
        if !self.network.is_empty() {
            write!(f, " of network {:?}", self.network)?;
        }
        if !self.ifname.is_empty() {
            write!(f, " (interface {:?})", self.ifname)?;
        }
        Ok(())
    }
}

/// What traffic the node hides behind its own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masquerade {
    /// None: `snat` is false.
    Off,
    /// What could not be answered otherwise: from the node's loopback and from pods themselves.
    Needed,
    /// All: `masqAll`.
    All,
}

/// How iptables rules say that a packet is to be masqueraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A bit of the packet mark, 0 to 31, set and masqueraded by chains of our own.
    Bit(u8),
    /// A chain that someone else provides.
    Chain(String),
}

impl Default for Mark {
    /// Kubernetes uses bits 14 and 15, Calico 20 to 31.
    fn default() -> Mark {
        Mark::Bit(13)
    }
}

/// What takes the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// `iptables-restore`.
    Iptables,
    /// nf_tables, by netlink.
    Nftables,
}

impl Backend {
    /// The name in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Iptables => "iptables",
            Backend::Nftables => "nftables",
        }
    }
}

/// What one attachment wants in one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Whose mappings they are.
    pub owner: Owner,
    /// The pod's address with its subnet.
    pub pod: IpNetwork,
    /// All mappings of the request, those of the other family included.
    pub mappings: Vec<Mapping>,
    /// What to masquerade.
    pub masquerade: Masquerade,
    /// How iptables marks it.
    pub mark: Mark,
    /// What a packet must be besides, in the language of the backend.
    pub conditions: Vec<String>,
}

impl Forward {
    /// The family of the pod's address.
    pub fn family(&self) -> Family {
        Family::of(self.pod.ip())
    }

    /// The mappings that lead to this address, each once.
    pub fn own_mappings(&self) -> Vec<Mapping> {
        let mut own: Vec<Mapping> = Vec::new();
        for mapping in self.mappings.iter().filter(|m| m.is_in(self.family())) {
            if !own.contains(mapping) {
                own.push(*mapping);
            }
        }
        own
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    pub(crate) fn mapping(text: &str) -> Mapping {
        // protocol host-port container-port [host-ip]
        let words: Vec<_> = text.split(' ').collect();
        Mapping {
            protocol: Protocol::parse(words[0]).expect("protocol"),
            host_port: words[1].parse().expect("port"),
            container_port: words[2].parse().expect("port"),
            host_ip: words.get(3).map(|ip| ip.parse().expect("address")),
        }
    }

    pub(crate) fn owner() -> Owner {
        Owner {
            network: "test".into(),
            container_id: "icee6giejonei6so".into(),
            ifname: "eth0".into(),
        }
    }

    pub(crate) fn forward(pod: &str) -> Forward {
        let texts = [
            "tcp 8080 80",
            "tcp 8081 80",
            "udp 8080 81",
            "udp 8082 82",
            "tcp 8083 83 192.0.2.2",
            "tcp 8084 84 0.0.0.0",
            "tcp 8085 85 2001:db8:a::1",
            "sctp 8086 86 ::",
        ];
        Forward {
            owner: owner(),
            pod: pod.parse().expect("network"),
            mappings: texts.map(mapping).to_vec(),
            masquerade: Masquerade::Needed,
            mark: Mark::default(),
            conditions: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::mapping;

    #[test]
    fn the_unspecified_address_overlaps_its_family_only() {
        let any = mapping("tcp 80 1");
        let v4 = mapping("tcp 80 1 0.0.0.0");
        let v6 = mapping("tcp 80 1 ::");
        let one = mapping("tcp 80 1 192.0.2.1");
        let two = mapping("tcp 80 1 192.0.2.2");
        let six = mapping("tcp 80 1 2001:db8::1");
        for (a, b, meet) in [
            (any, v4, true),
            (any, six, true),
            (v4, one, true),
            (v4, v6, false),
            (v4, six, false),
            (v6, six, true),
            (one, two, false),
            (one, one, true),
            (one, mapping("udp 80 1 192.0.2.1"), false),
            (one, mapping("tcp 81 1 192.0.2.1"), false),
        ] {
            assert_eq!(a.overlaps(&b), meet, "{a} {b}");
            assert_eq!(b.overlaps(&a), meet, "{b} {a}");
        }
    }
}
