//! The nftables rules of host ports, as data.

use super::condition::{Fault, parse_nft};
use super::{Family, Forward, Mapping, Masquerade, Owner, Protocol};
use crate::names::sha256_short;
use crate::nft::{
    BaseChain, Batch, COMMENT_MAX, Chain, ChainRef, ChainType, CmpOp, Expr, Hook, Meta,
    PRIORITY_DSTNAT, PRIORITY_SRCNAT, PayloadBase, Rule, RuleInfo, Table, Verdict,
};
use ipnetwork::IpNetwork;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const TABLE: &str = "cni_hostport";
/// The rules of all containers.
pub(super) const HOSTPORTS: &str = "hostports";
/// Where plugins before 1.6 had the rules with a host address.
pub(super) const HOSTIP_HOSTPORTS: &str = "hostip_hostports";
const ALL: &str = "hostports_all";
pub(super) const MASQUERADING: &str = "masquerading";
/// The chains that the kernel calls for packets to be translated.
pub(super) const ENTRANCES: [(&str, Hook); 2] =
    [("prerouting", Hook::Prerouting), ("output", Hook::Output)];

/// The longest network name that a tag holds as it is; longer ones are hashed.
const NETWORK_IN_TAG: usize = 100;

pub(super) fn table_family(family: Family) -> crate::nft::Family {
    match family {
        Family::V4 => crate::nft::Family::Ip,
        Family::V6 => crate::nft::Family::Ip6,
    }
}

pub(super) fn chain(family: Family, name: &str) -> ChainRef<'_> {
    ChainRef::new(table_family(family), TABLE, name)
}

/// The comment at the rules of a container: its ID, as the reference has it.
///
/// Of an ID longer than any comment the start is kept; the reference cannot serve such at all.
pub(super) fn comment(container_id: &str) -> &str {
    container_id.get(..COMMENT_MAX).unwrap_or(container_id)
}

fn network_in_tag(network: &str) -> String {
    if network.len() <= NETWORK_IN_TAG {
        return network.to_owned();
    }
    format!("#{}", sha256_short(network))
}

/// What stands beside the comment, unseen by others: network and interface.
pub(super) fn tag(owner: &Owner) -> Vec<u8> {
    format!("{}/{}", network_in_tag(&owner.network), owner.ifname).into_bytes()
}

/// Whether a tag is of this network.
pub(super) fn is_of_network(tag: &[u8], network: &str) -> bool {
    let network = network_in_tag(network);
    tag.strip_prefix(network.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Network (perhaps hashed) and interface of a tag.
pub(super) fn read_tag(tag: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(tag).ok()?;
    let (network, ifname) = text.split_once('/')?;
    Some((network.to_owned(), ifname.to_owned()))
}

/// Adds the table and its chains; what is there stays.
pub(super) fn add_structure(batch: &mut Batch, family: Family, masquerade: bool) {
    let table =
        Table { family: table_family(family), name: TABLE, comment: Some("CNI portmap plugin") };
    batch.add_table(&table);
    for name in [HOSTPORTS, HOSTIP_HOSTPORTS, ALL] {
        batch.add_chain(&Chain::regular(chain(family, name)));
    }
    for (name, hook) in ENTRANCES {
        let base = BaseChain { kind: ChainType::Nat, hook, priority: PRIORITY_DSTNAT };
        batch.add_chain(&Chain::base(chain(family, name), base));
    }
    if masquerade {
        let base =
            BaseChain { kind: ChainType::Nat, hook: Hook::Postrouting, priority: PRIORITY_SRCNAT };
        batch.add_chain(&Chain::base(chain(family, MASQUERADING), base));
    }
}

/// Writes anew the rules that lead from the hooks to the rules of the containers.
pub(super) fn rewrite_jumps(batch: &mut Batch, family: Family) {
    let all = chain(family, ALL);
    batch.flush_chain(all);
    batch.add_rule(&Rule::new(all).jump(HOSTIP_HOSTPORTS));
    batch.add_rule(&Rule::new(all).jump(HOSTPORTS));
    for (name, _) in ENTRANCES {
        let entrance = chain(family, name);
        batch.flush_chain(entrance);
        batch.add_rule(&Rule::new(entrance).daddr_is_local().jump(ALL));
    }
}

/// The chain with the jumps to the containers' rules.
pub(super) fn all_chain(family: Family) -> ChainRef<'static> {
    chain(family, ALL)
}

fn jumps_to(exprs: &[Expr], name: &str) -> bool {
    matches!(exprs.last(), Some(Expr::Verdict(Verdict::Jump(to))) if to == name)
}

/// Whether the rules of [`all_chain`] lead on to the containers'.
pub(super) fn leads_on(rules: &[RuleInfo]) -> bool {
    rules.iter().any(|r| r.exprs().len() == 1 && jumps_to(&r.exprs(), HOSTPORTS))
}

/// What the rules of an entrance let through to the containers' rules: for each that leads
/// there, its conditions before the test for an address of the node.
pub(super) fn entrance_conditions(rules: &[RuleInfo]) -> Vec<Vec<Expr>> {
    rules
        .iter()
        .map(RuleInfo::exprs)
        .filter(|exprs| jumps_to(exprs, ALL))
        .filter_map(|exprs| {
            let local = exprs.iter().position(|e| matches!(e, Expr::FibAddrType { .. }))?;
            Some(exprs[..local].to_vec())
        })
        .collect()
}

fn host(ip: IpAddr) -> IpNetwork {
    IpNetwork::from(ip)
}

/// The rules of `forward`: first those that translate, then those that masquerade.
pub(super) fn rules(forward: &Forward) -> Result<Vec<Rule<'static>>, Fault> {
    let family = forward.family();
    let conditions = parse_nft(family, &forward.conditions)?;
    let comment = comment(&forward.owner.container_id);
    let tag = tag(&forward.owner);
    let own = |name: &'static str| {
        let at = ChainRef::new(table_family(family), TABLE, name);
        Rule::new(at).comment(comment).owner(tag.clone())
    };
    let mut rules = Vec::new();
    let mappings = forward.own_mappings();
    for mapping in &mappings {
        for steps in &conditions {
            let mut rule = own(HOSTPORTS);
            rule.exprs.extend_from_slice(steps);
            if let Some(ip) = mapping.address() {
                rule = rule.daddr(host(ip));
            }
            let rule = rule.dport(mapping.protocol.number(), mapping.host_port);
            rules.push(rule.dnat(forward.pod.ip(), Some(mapping.container_port)));
        }
    }
    if !mappings.is_empty() {
        for from in masqueraded(forward) {
            rules.push(own(MASQUERADING).saddr(from).daddr(host(forward.pod.ip())).masquerade());
        }
    }
    Ok(rules)
}

fn masqueraded(forward: &Forward) -> Vec<IpNetwork> {
    let any = match forward.family() {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    match forward.masquerade {
        Masquerade::Off => Vec::new(),
        // A prefix of 0 bits is always valid.
        Masquerade::All => IpNetwork::new(any, 0).into_iter().collect(),
        Masquerade::Needed => {
            let mut sources = vec![host(forward.pod.ip())];
            if any.is_ipv4() {
                sources.push(host(IpAddr::V4(Ipv4Addr::LOCALHOST)));
            }
            sources
        }
    }
}

/// What a rule of any author forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) mapping: Mapping,
    pub(super) target: IpAddr,
}

/// Reads a translating rule. A mapping without host address is for all of the family.
pub(super) fn read_rule(family: Family, rule: &RuleInfo) -> Option<Found> {
    let (target, container_port) = rule.dnat_target()?;
    let exprs = rule.exprs();
    let mut mapping = Mapping {
        protocol: Protocol::Tcp,
        host_port: 0,
        container_port: container_port?,
        host_ip: Some(match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }),
    };
    for pair in exprs.windows(2) {
        match pair {
            [Expr::Meta { key: Meta::L4Proto, .. }, Expr::Cmp { op: CmpOp::Eq, data, .. }] => {
                let number = *data.first()?;
                mapping.protocol = Protocol::ALL.into_iter().find(|p| p.number() == number)?;
            }
            [
                Expr::Payload { base: PayloadBase::Transport, offset: 2, len: 2, .. },
                Expr::Cmp { op: CmpOp::Eq, data, .. },
            ] => mapping.host_port = u16::from_be_bytes(data.as_slice().try_into().ok()?),
            _ => {}
        }
    }
    if let Some(ip) = destination(&exprs) {
        mapping.host_ip = Some(ip);
    }
    (mapping.host_port != 0).then_some(Found { mapping, target })
}

/// The one destination address that a rule asks for last.
pub(super) fn destination(exprs: &[Expr]) -> Option<IpAddr> {
    exprs.windows(2).rev().find_map(|pair| match pair {
        [
            Expr::Payload { base: PayloadBase::Network, offset: 16, len: 4, .. },
            Expr::Cmp { op: CmpOp::Eq, data, .. },
        ] => <[u8; 4]>::try_from(data.as_slice()).ok().map(IpAddr::from),
        [
            Expr::Payload { base: PayloadBase::Network, offset: 24, len: 16, .. },
            Expr::Cmp { op: CmpOp::Eq, data, .. },
        ] => <[u8; 16]>::try_from(data.as_slice()).ok().map(IpAddr::from),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_tag_says_network_and_interface_within_its_room() {
        let owner = samples::owner();
        assert_eq!(tag(&owner), b"test/eth0");
        assert!(is_of_network(b"test/eth0", "test"));
        assert!(!is_of_network(b"test2/eth0", "test"));
        assert!(!is_of_network(b"tes/eth0", "test"));
        let long = Owner { network: "n".repeat(200), ..owner };
        assert!(tag(&long).len() < 60);
        assert!(is_of_network(&tag(&long), &long.network));
        assert!(!is_of_network(&tag(&long), &"n".repeat(199)));
        assert_eq!(comment(&"c".repeat(200)).len(), COMMENT_MAX);
    }

    #[test]
    fn each_mapping_of_the_family_becomes_a_rule() {
        let mut forward = samples::forward("10.0.0.2/24");
        let count = |f: &Forward, name: &str| {
            rules(f).expect("rules").iter().filter(|r| r.chain.name == name).count()
        };
        assert_eq!(count(&forward, HOSTPORTS), 6);
        assert_eq!(count(&forward, MASQUERADING), 2);
        forward.masquerade = Masquerade::All;
        assert_eq!(count(&forward, MASQUERADING), 1);
        forward.masquerade = Masquerade::Off;
        assert_eq!(count(&forward, MASQUERADING), 0);
        forward.conditions = vec!["iifname { a, b }".into()];
        assert_eq!(count(&forward, HOSTPORTS), 12);
        let six = samples::forward("2001:db8::2/64");
        assert_eq!(count(&six, HOSTPORTS), 6);
        assert_eq!(count(&six, MASQUERADING), 1);
    }

    #[test]
    fn without_a_mapping_of_the_family_there_is_no_rule() {
        let mut forward = samples::forward("10.0.0.2/24");
        forward.mappings.retain(|m| m.host_ip.is_some_and(|ip| ip.is_ipv6()));
        assert_eq!(rules(&forward).expect("rules"), Vec::new());
    }
}
