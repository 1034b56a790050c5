//! Admission and isolation in nftables: a table of our own, for both families.
//!
//! ```text
//! table inet podloom_firewall {
//!     set pods4 | pods6     addresses that may send, and be answered
//!     chain isolation       per isolated bridge, leads to isolated_bridges
//!     chain isolated_bridges
//!     chain <the operator's>
//!     chain forward         hook forward: isolation, the operator's chain, the pods
//! }
//! ```
//! Whatever the number of pods, a packet is looked up once. A verdict of another table's chain at
//! the same hook still counts: what that drops cannot be admitted here.

use super::{Owner, Policy, drift, open_nft, session};
use crate::nft::{
    Address, BaseChain, Batch, COMMENT_MAX, Chain, ChainRef, ChainType, DataType, Element, Expr,
    Family, Hook, Nft, Rule, RuleInfo, Set, SetRef, Table, Verdict,
};
use cni_types::{Attachment, Result};
use std::net::IpAddr;

pub(super) const TABLE: &str = "podloom_firewall";
const FORWARD: ChainRef<'static> = chain("forward");
const ISOLATION: ChainRef<'static> = chain("isolation");
const ISOLATED_BRIDGES: ChainRef<'static> = chain("isolated_bridges");
const PODS_V4: SetRef<'static> = SetRef { family: Family::Inet, table: TABLE, name: "pods4" };
const PODS_V6: SetRef<'static> = SetRef { family: Family::Inet, table: TABLE, name: "pods6" };
/// Where `nft` puts `filter`.
const PRIORITY_FILTER: i32 = 0;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// How often a change is tried again because another process changed the same.
const ATTEMPTS: usize = 64;

const fn chain(name: &'static str) -> ChainRef<'static> {
    ChainRef::new(Family::Inet, TABLE, name)
}

fn set_of(ip: IpAddr) -> SetRef<'static> {
    if ip.is_ipv4() { PODS_V4 } else { PODS_V6 }
}

fn key(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The tag of what an attachment has.
pub(super) fn tag(owner: &Owner<'_>) -> Vec<u8> {
    let Owner { network, container_id, ifname } = owner;
    let whole = format!("{network}\0{container_id}\0{ifname}");
    if whole.len() <= COMMENT_MAX {
        return whole.into_bytes();
    }
    // Names that are too long for the kernel's room; the network must stay readable for GC.
    let digits = crate::names::sha256_key(&[network, container_id, ifname]);
    let network: String = network.chars().take(COMMENT_MAX - digits.len() - 2).collect();
    format!("{network}\0#{digits}").into_bytes()
}

/// What people see of it.
pub(super) fn label(owner: &Owner<'_>) -> String {
    let Owner { network, container_id, ifname } = owner;
    let mut text = format!("{network}/{container_id}/{ifname}");
    // Names are ASCII, so this cuts at a character.
    text.truncate(COMMENT_MAX / 2);
    text
}

/// Whether a tag is that of an attachment of `network` that is not in `valid`.
pub(super) fn is_stale(found: Option<&[u8]>, network: &str, valid: &[Attachment]) -> bool {
    let Some(found) = found else { return false };
    let of_network = |name: &str| tag(&Owner { network: name, container_id: "", ifname: "" });
    let own = of_network(network);
    let prefix = own.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_it = |a: &Attachment| {
        tag(&Owner { network, container_id: &a.container_id, ifname: &a.ifname }) == found
    };
    found.split(|byte| *byte == 0).next() == Some(prefix) && !valid.iter().any(is_it)
}

fn element(ip: IpAddr, owner: &Owner<'_>) -> Element {
    let (comment, owner) = (Some(label(owner)), Some(tag(owner)));
    Element { comment, owner, ..Element::key(key(ip)) }
}

fn forward_rules(admin: &str) -> Vec<Rule<'static>> {
    let mut rules = vec![Rule::new(FORWARD).jump(ISOLATION.name), Rule::new(FORWARD).jump(admin)];
    for (protocol, set) in [(NFPROTO_IPV4, PODS_V4), (NFPROTO_IPV6, PODS_V6)] {
        let accept = |rule: Rule<'static>, which: Address| {
            rule.address_in(which, protocol, set.name).verdict(Verdict::Accept)
        };
        rules.push(accept(Rule::new(FORWARD).ct_known(), Address::Destination));
        rules.push(accept(Rule::new(FORWARD), Address::Source));
    }
    rules
}

/// Whether the layout is there and leads to the operator's chain, of which there may be others.
fn is_whole(nft: &mut Nft, admin: &str) -> Result<bool> {
    let listed = nft.rules(FORWARD)?;
    let wanted = forward_rules(admin);
    let is_there = |want: &Rule<'_>| listed.iter().any(|rule| rule.exprs() == want.exprs);
    let first = listed.first().map(RuleInfo::exprs);
    let is_first = first.as_ref() == wanted.first().map(|rule| &rule.exprs);
    Ok(is_first && wanted.iter().all(is_there) && nft.chain(FORWARD)?.is_some_and(|c| c.is_base))
}

/// The layout, made anew but for the sets, the chains of operators and the bridges.
fn add_layout(nft: &mut Nft, batch: &mut Batch, admin: &str) -> Result<()> {
    batch.add_table(&Table { family: Family::Inet, name: TABLE, comment: None });
    for (at, key) in [(PODS_V4, DataType::IPV4), (PODS_V6, DataType::IPV6)] {
        batch.add_set(&Set { at, key, data: None });
    }
    for at in [ISOLATION, ISOLATED_BRIDGES, ChainRef::new(Family::Inet, TABLE, admin)] {
        batch.add_chain(&Chain::regular(at));
    }
    let base =
        BaseChain { kind: ChainType::Filter, hook: Hook::Forward, priority: PRIORITY_FILTER };
    batch.add_chain(&Chain::base(FORWARD, base));
    let others = other_admins(nft, admin)?;
    batch.flush_chain(FORWARD);
    let mut rules = forward_rules(admin);
    rules.splice(1..1, others.iter().map(|other| Rule::new(FORWARD).jump(other)));
    rules.iter().for_each(|rule| batch.add_rule(rule));
    Ok(())
}

/// The chains of operators that other networks name.
fn other_admins(nft: &mut Nft, admin: &str) -> Result<Vec<String>> {
    let jumps = nft.rules(FORWARD)?.into_iter().filter_map(|rule| match rule.exprs().as_slice() {
        [Expr::Verdict(Verdict::Jump(to))] if to != ISOLATION.name && to != admin => {
            Some(to.clone())
        }
        _ => None,
    });
    Ok(jumps.collect())
}

/// Lets the addresses send, and be answered.
pub(super) fn admit(owner: &Owner<'_>, addresses: &[IpAddr], admin: &str) -> Result<()> {
    let mut nft = session()?;
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        let batch = admission(&mut nft, owner, addresses, admin)?;
        outcome = nft.commit(batch).map(|_| ());
        match &outcome {
            Err(e) if e.is_stale() || e.is_not_found() => {}
            _ => break,
        }
    }
    Ok(outcome?)
}

/// Elements alone, in the ordinary case; where something is to be replaced, only if nobody else
/// changes it meanwhile.
fn admission(nft: &mut Nft, owner: &Owner<'_>, addresses: &[IpAddr], admin: &str) -> Result<Batch> {
    let generation = nft.generation()?;
    let whole = is_whole(nft, admin)?;
    let wanted: Vec<_> = addresses.iter().map(|ip| (set_of(*ip), element(*ip, owner))).collect();
    let mut others = Vec::new();
    for (set, wanted) in &wanted {
        let found = nft.element(*set, &wanted.key)?;
        // Given out again; its last holder has not been removed yet.
        let is_others = found.is_some_and(|found| found.owner != wanted.owner);
        others.extend(is_others.then(|| (*set, Element::key(wanted.key.clone()))));
    }
    let ordinary = whole && others.is_empty();
    let mut batch = if ordinary { Batch::new() } else { Batch::at_generation(generation) };
    if !whole {
        add_layout(nft, &mut batch, admin)?;
    }
    for (set, other) in others {
        batch.delete_elements(set, &[other]);
    }
    for (set, wanted) in wanted {
        batch.add_elements(set, &[wanted]);
    }
    Ok(batch)
}

/// Removes the addresses' elements that are `owner`'s.
pub(super) fn dismiss(owner: &Owner<'_>, addresses: &[IpAddr]) -> Result<()> {
    let Some(mut nft) = open_nft()? else { return Ok(()) };
    let own = tag(owner);
    for ip in addresses {
        let found = nft.element(set_of(*ip), &key(*ip));
        let found = match found {
            Err(e) if is_absent(&e) => None,
            other => other?,
        };
        if found.is_some_and(|found| found.owner.as_deref() == Some(&own)) {
            delete_elements(&mut nft, set_of(*ip), vec![key(*ip)])?;
        }
    }
    Ok(())
}

/// Removes whatever elements are `owner`'s, without a record that names them.
pub(super) fn dismiss_found(owner: &Owner<'_>) -> Result<()> {
    let own = tag(owner);
    delete_where(|found| found == Some(&own))
}

/// Removes elements of attachments of `network` that are not valid.
pub(super) fn collect(network: &str, valid: &[Attachment]) -> Result<()> {
    delete_where(|found| is_stale(found, network, valid))
}

fn delete_where(unwanted: impl Fn(Option<&[u8]>) -> bool) -> Result<()> {
    let Some(mut nft) = open_nft()? else { return Ok(()) };
    for set in [PODS_V4, PODS_V6] {
        delete_from(&mut nft, set, &unwanted)?;
    }
    Ok(())
}

/// Deletes the elements of a set whose tag is unwanted.
pub(super) fn delete_from(
    nft: &mut Nft,
    set: SetRef<'_>,
    unwanted: impl Fn(Option<&[u8]>) -> bool,
) -> Result<()> {
    let all = match nft.elements(set) {
        Err(e) if is_absent(&e) => return Ok(()),
        other => other?,
    };
    let doomed = all.into_iter().filter(|e| unwanted(e.owner.as_deref())).map(|e| e.key);
    delete_elements(nft, set, doomed.collect())
}

/// Deletes elements, each by itself if others are at them too.
pub(super) fn delete_elements(nft: &mut Nft, set: SetRef<'_>, keys: Vec<Vec<u8>>) -> Result<()> {
    let all: Vec<_> = keys.into_iter().map(Element::key).collect();
    let mut batch = Batch::new();
    batch.delete_elements(set, &all);
    match nft.commit(batch) {
        Err(e) if e.is_not_found() => {}
        other => return Ok(other.map(|_| ())?),
    }
    for one in all {
        let mut batch = Batch::new();
        batch.delete_elements(set, &[one]);
        match nft.commit(batch) {
            Err(e) if !e.is_not_found() => return Err(e.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the answer means that there is nothing: no such thing, or a kernel without it.
pub(super) fn is_absent(error: &crate::nft::Error) -> bool {
    error.is_not_found() || error.is_unsupported() || error.errno == libc::EINVAL
}

pub(super) fn check(owner: &Owner<'_>, addresses: &[IpAddr], admin: &str) -> Result<()> {
    let mut nft = session()?;
    let own = tag(owner);
    for ip in addresses {
        let found = nft.element(set_of(*ip), &key(*ip))?;
        match found.map(|found| found.owner) {
            None => return Err(drift(format!("{ip} is not in the set {}", set_of(*ip)))),
            Some(Some(other)) if other != own => {
                return Err(drift(format!("{ip} is in the set {} for another pod", set_of(*ip))));
            }
            Some(_) => {}
        }
    }
    if !is_whole(&mut nft, admin)? {
        return Err(drift(format!("{FORWARD} does not lead to the rules of pods")));
    }
    Ok(())
}

fn bridge_rules(bridge: &str, policy: Policy) -> Vec<Rule<'static>> {
    let mut rules = vec![
        Rule::new(ISOLATION).iifname(bridge).not_oifname(bridge).jump(ISOLATED_BRIDGES.name),
        Rule::new(ISOLATED_BRIDGES).oifname(bridge).verdict(Verdict::Drop),
    ];
    if policy == Policy::Isolated {
        let both = Rule::new(ISOLATION).iifname(bridge).oifname(bridge);
        rules.push(both.verdict(Verdict::Drop));
    }
    let named = |rule: Rule<'static>| rule.comment(bridge_comment(bridge, policy));
    rules.into_iter().map(named).collect()
}

fn bridge_comment(bridge: &str, policy: Policy) -> String {
    format!("ingressPolicy: {} of {bridge}", policy.as_str())
}

/// Isolates `bridge`; under the lock of the state.
pub(super) fn part_bridges(bridge: &str, policy: Policy) -> Result<()> {
    let mut nft = session()?;
    let mut batch = Batch::new();
    batch.add_table(&Table { family: Family::Inet, name: TABLE, comment: None });
    for at in [ISOLATION, ISOLATED_BRIDGES] {
        batch.add_chain(&Chain::regular(at));
    }
    let jump = Rule::new(FORWARD).jump(ISOLATION.name);
    let forward = nft.rules(FORWARD)?;
    if forward.first().map(RuleInfo::exprs).as_ref() != Some(&jump.exprs) {
        let base =
            BaseChain { kind: ChainType::Filter, hook: Hook::Forward, priority: PRIORITY_FILTER };
        batch.add_chain(&Chain::base(FORWARD, base));
        batch.insert_rule(&jump);
    }
    for rule in bridge_rules(bridge, policy) {
        let is_it = |found: &RuleInfo| is_same(found, &rule);
        if !nft.rules(rule.chain)?.iter().any(is_it) {
            batch.add_rule(&rule);
        }
    }
    nft.commit(batch)?;
    Ok(())
}

fn is_same(found: &RuleInfo, wanted: &Rule<'_>) -> bool {
    found.comment == wanted.comment && found.exprs() == wanted.exprs
}

/// Removes the rules that isolate `bridge`.
pub(super) fn join_bridges(bridge: &str, policy: Policy) -> Result<()> {
    let comment = bridge_comment(bridge, policy);
    delete_rules(|rule| rule.comment.as_deref() == Some(&comment))
}

fn delete_rules(unwanted: impl Fn(&RuleInfo) -> bool) -> Result<()> {
    let Some(mut nft) = open_nft()? else { return Ok(()) };
    let mut batch = Batch::new();
    for at in [ISOLATION, ISOLATED_BRIDGES] {
        let rules = match nft.rules(at) {
            Err(e) if is_absent(&e) => Vec::new(),
            other => other?,
        };
        rules.iter().filter(|r| unwanted(r)).for_each(|r| batch.delete_rule(at, r.handle));
    }
    nft.commit(batch)?;
    Ok(())
}

pub(super) fn check_bridge(bridge: &str, policy: Policy) -> Result<()> {
    let mut nft = session()?;
    for rule in bridge_rules(bridge, policy) {
        if !nft.rules(rule.chain)?.iter().any(|found| is_same(found, &rule)) {
            return Err(drift(format!("{} does not isolate {bridge}", rule.chain)));
        }
    }
    let jump = Rule::new(FORWARD).jump(ISOLATION.name);
    match nft.rules(FORWARD)?.first().map(RuleInfo::exprs) {
        Some(first) if first == jump.exprs => Ok(()),
        _ => Err(drift(format!("{FORWARD} does not lead to {} first", ISOLATION.name))),
    }
}

/// Removes what isolates bridges that are gone; under the lock of the state.
pub(super) fn collect_bridges() -> Result<()> {
    let bridge_of = |rule: &RuleInfo| {
        let comment = rule.comment.as_deref()?.strip_prefix("ingressPolicy: ")?;
        comment.split_once(" of ").map(|(_, bridge)| bridge.to_owned())
    };
    delete_rules(|rule| {
        bridge_of(rule).is_some_and(|bridge| {
            nix::net::if_::if_nametoindex(bridge.as_str()) == Err(nix::Error::ENODEV)
        })
    })
}

/// Whether nf_tables works.
pub(super) fn probe() -> Result<()> {
    session()?.generation()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_tell_networks_apart() {
        let owner = |network| Owner { network, container_id: "c", ifname: "eth0" };
        let valid = [Attachment { container_id: "c".to_owned(), ifname: "eth0".to_owned() }];
        let net = tag(&owner("net"));
        assert!(is_stale(Some(&net), "net", &[]));
        assert!(!is_stale(Some(&net), "net", &valid));
        assert!(!is_stale(Some(&net), "ne", &[]) && !is_stale(None, "net", &[]));
        let long = "n".repeat(200);
        let found = tag(&owner(&long));
        assert!(found.len() <= COMMENT_MAX);
        assert!(is_stale(Some(&found), &long, &[]) && !is_stale(Some(&found), &long, &valid));
    }
}
