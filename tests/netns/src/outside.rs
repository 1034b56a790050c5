//! Hosts beyond the node.

use crate::enter::Ns;
use std::net::IpAddr;
use std::ops::Deref;

/// A host beyond the node, linked to it by a veth.
#[derive(Debug)]
pub struct Outside {
    ns: Ns,
    link: String,
    ends: Vec<(IpAddr, IpAddr)>,
}

impl Outside {
    pub(crate) fn link(node: &Ns, ns: Ns, number: u32, networks: &[&str]) -> Outside {
        let link = format!("out{number}");
        let peer = format!("peer{number}");
        node.ip(&format!("link add {link} type veth peer name {peer}"));
        node.ip(&format!("link set {peer} netns {}", ns.path().display()));
        node.ip(&format!("link set {link} up"));
        ns.ip("link set lo up");
        ns.ip(&format!("link set {peer} name eth0 up"));
        let ends: Vec<_> = networks.iter().map(|text| first_two(text)).collect();
        for (text, (near, far)) in networks.iter().zip(&ends) {
            let length = text.rsplit_once('/').expect("network/length").1;
            let (family, nodad) = if near.is_ipv4() { ("-4", "") } else { ("-6", "nodad") };
            node.ip(&format!("addr add {near}/{length} dev {link} {nodad}"));
            ns.ip(&format!("addr add {far}/{length} dev eth0 {nodad}"));
            ns.ip(&format!("{family} route add default via {near}"));
        }
        Outside { ns, link, ends }
    }

    /// The node's link to this host.
    pub fn node_link(&self) -> &str {
        &self.link
    }

    /// The node's address on the `index`th network.
    pub fn node_address(&self, index: usize) -> IpAddr {
        self.ends[index].0
    }

    /// The host's address on the `index`th network.
    pub fn address(&self, index: usize) -> IpAddr {
        self.ends[index].1
    }
}

impl Deref for Outside {
    type Target = Ns;

    fn deref(&self) -> &Ns {
        &self.ns
    }
}

fn first_two(network: &str) -> (IpAddr, IpAddr) {
    let (base, _) = network.split_once('/').expect("network/length");
    match base.parse().unwrap_or_else(|e| panic!("{network}: {e}")) {
        IpAddr::V4(v4) => {
            let n = u32::from(v4);
            (IpAddr::V4((n + 1).into()), IpAddr::V4((n + 2).into()))
        }
        IpAddr::V6(v6) => {
            let n = u128::from(v6);
            (IpAddr::V6((n + 1).into()), IpAddr::V6((n + 2).into()))
        }
    }
}
