//! Admission and isolation in iptables: chains, rules and order are the reference's.
//!
//! ```text
//! FORWARD      -> CNI-ISOLATION-STAGE-1 -> CNI-ISOLATION-STAGE-2
//!              -> CNI-FORWARD -> the operator's chain
//! CNI-FORWARD  two rules per address
//! ```
//! Rules of isolation carry a comment of ours, so that each side removes its own. The reference
//! never removes any; what it left for a bridge that is gone is collected.

use super::state::State;
use super::{Policy, drift};
use crate::iptables::{self, Family, Listed, Running, Script, Tables, quoted};
use crate::nft::Address;
use cni_types::{Code, Error, Result};
use std::fs::File;
use std::net::IpAddr;

const TABLE: &str = "filter";
const FORWARD: &str = "FORWARD";
/// The chain of the pods' rules.
const PRIVATE: &str = "CNI-FORWARD";
const STAGE_1: &str = "CNI-ISOLATION-STAGE-1";
const STAGE_2: &str = "CNI-ISOLATION-STAGE-2";
const PRIVATE_COMMENT: &str = "CNI firewall plugin rules";
const ADMIN_COMMENT: &str = "CNI firewall plugin admin overrides";
const STAGES_COMMENT: &str = "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)";

/// The comment of our rules for a policy.
fn comment(policy: Policy) -> String {
    format!("podloom firewall (ingressPolicy: {})", policy.as_str())
}

/// Whether the rule is one of those that isolate bridges, whoever made it.
fn is_of_bridge(rule: &Listed) -> bool {
    let reference = |policy: Policy| {
        rule.says(&format!("CNI firewall plugin rules (ingressPolicy: {})", policy.as_str()))
    };
    rule.says(STAGES_COMMENT)
        || Policy::ALL.into_iter().any(|policy| rule.says(&comment(policy)) || reference(policy))
}

fn of_family(family: Family, addresses: &[IpAddr]) -> Vec<IpAddr> {
    addresses.iter().copied().filter(|ip| Family::of(*ip) == family).collect()
}

/// The families that `addresses` are of, with those that are.
fn families(addresses: &[IpAddr]) -> impl Iterator<Item = (Family, Vec<IpAddr>)> {
    Family::ALL
        .into_iter()
        .map(|family| (family, of_family(family, addresses)))
        .filter(|(_, own)| !own.is_empty())
}

/// Whether the rule lets pass what comes from `ip`: exactly the rule that is made here.
fn admits_from(rule: &Listed, ip: IpAddr) -> bool {
    rule.host(Address::Source) == Some(ip)
        && rule.target().as_deref() == Some("ACCEPT")
        && rule.extensions() == 0
}

/// Whether the rule lets pass what answers `ip`.
fn admits_answers(rule: &Listed, ip: IpAddr) -> bool {
    rule.host(Address::Destination) == Some(ip)
        && rule.target().as_deref() == Some("ACCEPT")
        && rule.extensions() == 1
}

fn leads_to(rules: &[Listed], chain: &str) -> Option<usize> {
    rules.iter().position(|rule| rule.target().as_deref() == Some(chain))
}

/// An ADD in one family under way.
struct Adding {
    running: Running,
    /// Held while shared rules are made.
    _lock: Option<File>,
}

/// Lets the addresses send, and be answered; both families at the same time.
pub(super) fn admit(state: &State, addresses: &[IpAddr], admin: &str) -> Result<()> {
    let mut started = Vec::new();
    let mut shared = Vec::new();
    for (family, own) in families(addresses) {
        let mut tables = Tables::open(family, TABLE)?;
        if has_base(&mut tables, admin)? {
            started.push(start(&mut tables, &own, Script::new(family, TABLE), None));
        } else {
            shared.push((tables, own));
        }
    }
    let mut outcomes: Vec<Result<()>> = started.into_iter().map(finish).collect();
    for (mut tables, own) in shared {
        // Two at once would add the same shared rule twice.
        let lock = state.lock()?;
        tables.refresh();
        let script = base_script(&mut tables, admin)?;
        outcomes.push(finish(start(&mut tables, &own, script, Some(lock))));
    }
    Error::collect(outcomes)
}

fn finish(started: Result<Option<Adding>>) -> Result<()> {
    match started? {
        Some(adding) => adding.running.finish(),
        None => Ok(()),
    }
}

/// Appends what is missing of the addresses' rules to `script`, and starts it.
fn start(
    tables: &mut Tables,
    own: &[IpAddr],
    mut script: Script,
    lock: Option<File>,
) -> Result<Option<Adding>> {
    let there = tables.rules(PRIVATE)?;
    for ip in own {
        let host = ipnetwork::IpNetwork::from(*ip);
        if !there.iter().any(|rule| admits_answers(rule, *ip)) {
            script.line(format_args!(
                "-A {PRIVATE} -d {host} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            ));
        }
        if !there.iter().any(|rule| admits_from(rule, *ip)) {
            script.line(format_args!("-A {PRIVATE} -s {host} -j ACCEPT"));
        }
    }
    if script == tables.script() {
        return Ok(None);
    }
    Ok(Some(Adding { running: script.spawn()?, _lock: lock }))
}

/// Whether packets come to the pods' rules, and to the operator's before them.
fn has_base(tables: &mut Tables, admin: &str) -> Result<bool> {
    let leads = leads_to(&tables.rules(FORWARD)?, PRIVATE).is_some();
    Ok(leads && leads_to(&tables.rules(PRIVATE)?, admin).is_some())
}

/// What is missing of the shared chains. Isolation stays the first of all.
fn base_script(tables: &mut Tables, admin: &str) -> Result<Script> {
    let mut script = tables.script();
    let forward = tables.rules(FORWARD)?;
    let private = tables.rules(PRIVATE)?;
    for chain in [PRIVATE, admin] {
        if !tables.has_chain(chain)? {
            script.line(format_args!(":{chain} - [0:0]"));
        }
    }
    if leads_to(&forward, PRIVATE).is_none() {
        let place = leads_to(&forward, STAGE_1).map_or(1, |index| index + 2);
        let text = quoted(PRIVATE_COMMENT);
        script.line(format_args!("-I {FORWARD} {place} -m comment --comment {text} -j {PRIVATE}"));
    }
    if leads_to(&private, admin).is_none() {
        let text = quoted(ADMIN_COMMENT);
        script.line(format_args!("-I {PRIVATE} 1 -m comment --comment {text} -j {admin}"));
    }
    Ok(script)
}

/// Removes the addresses' rules, whoever made them. No process over nf_tables.
pub(super) fn dismiss(addresses: &[IpAddr]) -> Result<()> {
    Error::collect(families(addresses).map(|(family, own)| {
        let is_own = |rule: &Listed| {
            own.iter().any(|ip| admits_from(rule, *ip) || admits_answers(rule, *ip))
        };
        Tables::open(family, TABLE)?.delete(PRIVATE, is_own)
    }))
}

/// The addresses that rules let pass.
pub(super) fn admitted() -> Result<Vec<IpAddr>> {
    let mut all = Vec::new();
    for family in Family::ALL {
        for rule in Tables::open(family, TABLE)?.rules(PRIVATE)? {
            let (from, to) = (rule.host(Address::Source), rule.host(Address::Destination));
            let from = from.filter(|ip| admits_from(&rule, *ip));
            let to = to.filter(|ip| admits_answers(&rule, *ip));
            all.extend(from.or(to).filter(|ip| !all.contains(ip)));
        }
    }
    Ok(all)
}

pub(super) fn check(addresses: &[IpAddr], admin: &str) -> Result<()> {
    for (family, own) in families(addresses) {
        let name = family.program();
        let mut tables = Tables::open(family, TABLE)?;
        let private = tables.rules(PRIVATE)?;
        for ip in own {
            let answers = private.iter().any(|rule| admits_answers(rule, ip));
            if !answers || !private.iter().any(|rule| admits_from(rule, ip)) {
                return Err(drift(format!("{name}: a rule for {ip} is missing in {PRIVATE}")));
            }
        }
        if leads_to(&private, admin).is_none() {
            return Err(drift(format!("{name}: {PRIVATE} does not lead to {admin}")));
        }
        if leads_to(&tables.rules(FORWARD)?, PRIVATE).is_none() {
            return Err(drift(format!("{name}: {FORWARD} does not lead to {PRIVATE}")));
        }
    }
    Ok(())
}

/// The rules that isolate `bridge`, as chain and words.
fn bridge_rules(bridge: &str, policy: Policy) -> Vec<(&'static str, String)> {
    let (link, text) = (quoted(bridge), quoted(&comment(policy)));
    let with_comment = |words: String| format!("{words} -m comment --comment {text}");
    let mut rules = vec![
        (STAGE_1, with_comment(format!("-i {link} ! -o {link} -j {STAGE_2}"))),
        (STAGE_2, with_comment(format!("-o {link} -j DROP"))),
    ];
    if policy == Policy::Isolated {
        rules.push((STAGE_1, with_comment(format!("-i {link} -o {link} -j DROP"))));
    }
    rules
}

fn is_ours(rule: &Listed, bridge: &str, policy: Policy) -> bool {
    rule.is_about_link(bridge) && rule.says(&comment(policy))
}

/// Isolates `bridge` in the families of `addresses`; under the lock of the state.
pub(super) fn part_bridges(addresses: &[IpAddr], bridge: &str, policy: Policy) -> Result<()> {
    let mut running = Vec::new();
    for (family, _) in families(addresses) {
        let mut tables = Tables::open(family, TABLE)?;
        let mut script = tables.script();
        for chain in [STAGE_1, STAGE_2] {
            if !tables.has_chain(chain)? {
                script.line(format_args!(":{chain} - [0:0]"));
            }
        }
        stage_1_first(&mut tables, &mut script)?;
        for (chain, rule) in bridge_rules(bridge, policy) {
            let target = rule.split(" -j ").nth(1).and_then(|rest| rest.split(' ').next());
            let is_it = |listed: &Listed| {
                is_ours(listed, bridge, policy) && listed.target().as_deref() == target
            };
            if !tables.rules(chain)?.iter().any(is_it) {
                script.line(format_args!("-I {chain} 1 {rule}"));
            }
        }
        for chain in [STAGE_1, STAGE_2] {
            if leads_to(&tables.rules(chain)?, "RETURN").is_none() {
                let text = quoted(STAGES_COMMENT);
                script.line(format_args!("-A {chain} -j RETURN -m comment --comment {text}"));
            }
        }
        if script != tables.script() {
            running.push(script.spawn());
        }
    }
    Error::collect(running.into_iter().map(|started| started?.finish()))
}

/// Sees that isolation is asked before what admits pods.
fn stage_1_first(tables: &mut Tables, script: &mut Script) -> Result<()> {
    let forward = tables.rules(FORWARD)?;
    let text = quoted(STAGES_COMMENT);
    let jump = format!("-j {STAGE_1} -m comment --comment {text}");
    match (leads_to(&forward, STAGE_1), leads_to(&forward, PRIVATE)) {
        (Some(first), Some(second)) if first > second => {
            // By number, counted from one: how its maker wrote it does not matter.
            script.line(format_args!("-D {FORWARD} {}", first + 1));
        }
        (Some(_), _) => return Ok(()),
        (None, _) => {}
    }
    script.line(format_args!("-I {FORWARD} 1 {jump}"));
    Ok(())
}

/// Removes our rules that isolate `bridge`.
pub(super) fn join_bridges(bridge: &str, policy: Policy) -> Result<()> {
    delete_in_stages(|rule| is_ours(rule, bridge, policy))
}

fn delete_in_stages(unwanted: impl Fn(&Listed) -> bool) -> Result<()> {
    Error::collect(Family::ALL.into_iter().flat_map(|family| {
        let unwanted = &unwanted;
        [STAGE_1, STAGE_2].map(|chain| Tables::open(family, TABLE)?.delete(chain, unwanted))
    }))
}

pub(super) fn check_bridge(addresses: &[IpAddr], bridge: &str, policy: Policy) -> Result<()> {
    for (family, _) in families(addresses) {
        let name = family.program();
        let mut tables = Tables::open(family, TABLE)?;
        let forward = tables.rules(FORWARD)?;
        let (first, second) = (leads_to(&forward, STAGE_1), leads_to(&forward, PRIVATE));
        if first.is_none() || second.is_some_and(|second| first > Some(second)) {
            return Err(drift(format!("{name}: {FORWARD} does not lead to {STAGE_1} first")));
        }
        for chain in [STAGE_1, STAGE_2] {
            let wanted = bridge_rules(bridge, policy).iter().filter(|(c, _)| *c == chain).count();
            let rules = tables.rules(chain)?;
            if rules.iter().filter(|rule| isolates(rule, bridge, policy)).count() < wanted {
                return Err(drift(format!("{name}: {chain} does not isolate {bridge}")));
            }
        }
    }
    Ok(())
}

/// Whether the rule is one of those for `bridge`, ours or the reference's.
fn isolates(rule: &Listed, bridge: &str, policy: Policy) -> bool {
    is_ours(rule, bridge, policy) || (rule.is_about_link(bridge) && is_of_bridge(rule))
}

/// Removes what isolates bridges that are gone; under the lock of the state.
pub(super) fn collect_bridges() -> Result<()> {
    let is_gone = |name: &str| nix::net::if_::if_nametoindex(name) == Err(nix::Error::ENODEV);
    let mut gone: Vec<String> = Vec::new();
    for family in Family::ALL {
        for rule in Tables::open(family, TABLE)?.rules(STAGE_1)?.iter().filter(|r| is_of_bridge(r))
        {
            gone.extend(rule.input().filter(|name| is_gone(name) && !gone.contains(name)));
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    delete_in_stages(|rule| is_of_bridge(rule) && gone.iter().any(|name| rule.is_about_link(name)))
}

/// Whether iptables works for any family; asks without a process where it can.
pub(super) fn is_usable() -> bool {
    Family::ALL.iter().any(|family| iptables::is_usable(*family, TABLE))
}

/// Whether the tables of `family` can be used.
pub(super) fn probe(family: Family) -> Result<()> {
    iptables::probe(family, TABLE).map_err(|e| Error { code: Code::NotAvailable, ..e })
}
