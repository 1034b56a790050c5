//! A guard at the entrance of a pod's link: what comes out of the pod carries the pod's own
//! addresses, and nothing that only routers and DHCP servers say.
//!
//! One chain per link in a table of the netdev family, before bridge and routing see the frame. Each
//! rule drops; what no rule drops goes on. So a pod
//! - sends from its own hardware address, IP addresses, and link-local addresses;
//! - speaks ARP, IPv4 and IPv6 only (no spanning tree, no second VLAN tag);
//! - answers ARP and neighbour solicitations for its own addresses only;
//! - is no router (router advertisements, redirects) and no DHCP server.

use super::nftables::{TABLE, is_absent, is_stale, tag};
use super::{Owner, drift, open_nft, session};
use crate::names::sha256_key;
use crate::nft::{
    Batch, Chain, ChainRef, CmpOp, Expr, Family, Meta, Nft, PayloadBase, Reg, Rule, RuleInfo,
    Table, Verdict,
};
use cni_types::{Attachment, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Before whatever others hang there.
const PRIORITY: i32 = -500;
const CHAIN_PREFIX: &str = "guard-";
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const DHCP_SERVER: u16 = 67;
const DHCPV6_SERVER: u16 = 547;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// What may come out of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard<'a> {
    /// The pod's link on the node.
    pub link: &'a str,
    /// The pod's hardware address.
    pub mac: [u8; 6],
    /// The pod's addresses, link-local ones included.
    pub addresses: &'a [IpAddr],
}

fn chain_name(owner: &Owner<'_>) -> String {
    let digits = sha256_key(&[owner.network, owner.container_id, owner.ifname]);
    format!("{CHAIN_PREFIX}{digits}")
}

fn at(name: &str) -> ChainRef<'_> {
    ChainRef::new(Family::Netdev, TABLE, name)
}

/// A rule in the making.
struct Steps<'a>(Rule<'a>);

impl<'a> Steps<'a> {
    fn new(chain: ChainRef<'a>) -> Steps<'a> {
        Steps(Rule::new(chain))
    }

    fn compare(self, op: CmpOp, data: &[u8]) -> Steps<'a> {
        Steps(self.0.expr(Expr::Cmp { sreg: Reg::R1, op, data: data.to_vec() }))
    }

    fn meta(self, key: Meta) -> Steps<'a> {
        Steps(self.0.expr(Expr::Meta { key, dreg: Reg::R1 }))
    }

    fn load(self, base: PayloadBase, offset: u32, len: u32) -> Steps<'a> {
        Steps(self.0.expr(Expr::Payload { base, offset, len, dreg: Reg::R1 }))
    }

    /// Frames of this Ethernet type.
    fn carries(self, protocol: u16) -> Steps<'a> {
        self.meta(Meta::Protocol).compare(CmpOp::Eq, &protocol.to_be_bytes())
    }

    /// Packets of this transport protocol.
    fn transports(self, protocol: u8) -> Steps<'a> {
        self.meta(Meta::L4Proto).compare(CmpOp::Eq, &[protocol])
    }

    /// What was loaded is none of these.
    fn none_of(self, all: &[Vec<u8>]) -> Steps<'a> {
        all.iter().fold(self, |steps, one| steps.compare(CmpOp::Neq, one))
    }

    fn drop(self, owner: &Owner<'_>) -> Rule<'a> {
        self.0.verdict(Verdict::Drop).owner(tag(owner))
    }
}

fn v4(addresses: &[IpAddr]) -> Vec<Vec<u8>> {
    // A host that has no address yet asks from this one: ARP probes, DHCP.
    let own = addresses.iter().filter_map(|ip| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    });
    own.chain([Ipv4Addr::UNSPECIFIED]).map(|ip| ip.octets().to_vec()).collect()
}

fn v6(addresses: &[IpAddr]) -> Vec<Vec<u8>> {
    let own = addresses.iter().filter_map(|ip| match ip {
        IpAddr::V6(ip) => Some(ip.octets().to_vec()),
        IpAddr::V4(_) => None,
    });
    own.collect()
}

/// The rules of a guard, in order.
fn rules<'a>(name: &'a str, owner: &Owner<'_>, guard: &Guard<'_>) -> Vec<Rule<'a>> {
    use PayloadBase::{Link, Network, Transport};
    let start = || Steps::new(at(name));
    let (v4, v6) = (v4(guard.addresses), v6(guard.addresses));
    // A host that is about to take an address asks whether it is free from this one.
    let mut v6_sources = v6.clone();
    v6_sources.push(Ipv6Addr::UNSPECIFIED.octets().to_vec());
    let spoken = [ARP, IPV4, IPV6].map(|protocol| protocol.to_be_bytes().to_vec());
    let says = |kind: u8| {
        start().carries(IPV6).transports(ICMPV6).load(Transport, 0, 1).compare(CmpOp::Eq, &[kind])
    };
    let serves = |protocol: u16, port: u16| {
        let from = start().carries(protocol).transports(UDP).load(Transport, 0, 2);
        from.compare(CmpOp::Eq, &port.to_be_bytes())
    };
    let all = [
        start().load(Link, 6, 6).compare(CmpOp::Neq, &guard.mac),
        start().meta(Meta::Protocol).none_of(&spoken),
        // Sender's hardware address and address (RFC 826).
        start().carries(ARP).load(Network, 8, 6).compare(CmpOp::Neq, &guard.mac),
        start().carries(ARP).load(Network, 14, 4).none_of(&v4),
        start().carries(IPV4).load(Network, 12, 4).none_of(&v4),
        serves(IPV4, DHCP_SERVER),
        start().carries(IPV6).load(Network, 8, 16).none_of(&v6_sources),
        serves(IPV6, DHCPV6_SERVER),
        says(ROUTER_ADVERTISEMENT),
        says(REDIRECT),
        // The address that it is about (RFC 4861, 4.4).
        says(NEIGHBOUR_ADVERTISEMENT).load(Transport, 8, 16).none_of(&v6),
    ];
    all.into_iter().map(|steps| steps.drop(owner)).collect()
}

/// Sets the guard, in place of one that is there.
pub(super) fn guard(owner: &Owner<'_>, wish: &Guard<'_>) -> Result<()> {
    let name = chain_name(owner);
    let mut nft = session()?;
    let is_there = nft.chain(at(&name))?.is_some();
    let mut batch = Batch::new();
    batch.add_table(&Table { family: Family::Netdev, name: TABLE, comment: None });
    if is_there {
        // It may hang at a link that is gone.
        batch.flush_chain(at(&name));
        batch.delete_chain(at(&name));
    }
    batch.add_chain(&Chain::ingress(at(&name), wish.link, PRIORITY));
    rules(&name, owner, wish).iter().for_each(|rule| batch.add_rule(rule));
    nft.commit(batch)?;
    Ok(())
}

/// Takes the guard away, if there is one.
pub(super) fn lift(owner: &Owner<'_>) -> Result<()> {
    let Some(mut nft) = open_nft()? else { return Ok(()) };
    lift_chain(&mut nft, &chain_name(owner))?;
    Ok(())
}

fn lift_chain(nft: &mut Nft, name: &str) -> Result<()> {
    match nft.chain(at(name)) {
        Ok(None) => return Ok(()),
        Err(e) if is_absent(&e) => return Ok(()),
        other => drop(other?),
    }
    let mut batch = Batch::new();
    batch.flush_chain(at(name));
    batch.delete_chain(at(name));
    match nft.commit(batch) {
        // It went with its link.
        Err(e) if e.is_not_found() => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

/// Takes away the guards of attachments of `network` that are not valid.
pub(super) fn collect(network: &str, valid: &[Attachment]) -> Result<()> {
    let Some(mut nft) = open_nft()? else { return Ok(()) };
    let all = match nft.table_rules(Family::Netdev, TABLE) {
        Err(e) if is_absent(&e) => return Ok(()),
        other => other?,
    };
    let mut doomed: Vec<_> = all
        .into_iter()
        .filter(|rule| rule.chain.starts_with(CHAIN_PREFIX))
        .filter(|rule| is_stale(rule.owner.as_deref(), network, valid))
        .map(|rule| rule.chain)
        .collect();
    doomed.dedup();
    for name in doomed {
        lift_chain(&mut nft, &name)?;
    }
    Ok(())
}

pub(super) fn check(owner: &Owner<'_>, wish: &Guard<'_>) -> Result<()> {
    let name = chain_name(owner);
    let mut nft = session()?;
    let is_base = nft.chain(at(&name))?.is_some_and(|chain| chain.is_base);
    let listed: Vec<_> = nft.rules(at(&name))?.iter().map(RuleInfo::exprs).collect();
    let wanted = rules(&name, owner, wish);
    let same = listed.len() == wanted.len()
        && listed.iter().zip(&wanted).all(|(found, want)| *found == want.exprs);
    if is_base && same {
        return Ok(());
    }
    Err(drift(format!("the guard of {} is gone or was changed", wish.link)))
}
