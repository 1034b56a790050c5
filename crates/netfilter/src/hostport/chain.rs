//! The iptables rules of host ports, as data.

use super::{Family, Forward, Mapping, Mark, Masquerade, Owner, Protocol};
use crate::names::{chain_name, hashed_chain};
use ipnetwork::IpNetwork;
use std::fmt;
use std::net::IpAddr;

/// Where packets to an address of the node are looked up, for all containers.
pub const DNAT: &str = "CNI-HOSTPORT-DNAT";
/// Marks packets to be masqueraded.
pub const SET_MARK: &str = "CNI-HOSTPORT-SETMARK";
/// Masquerades marked packets.
pub const MASQUERADE: &str = "CNI-HOSTPORT-MASQ";
/// Where plugins before 0.8 had source NAT.
pub const OLD_SNAT: &str = "CNI-HOSTPORT-SNAT";

/// The longest comment, in bytes.
const COMMENT: usize = 255;
/// Ports in one `multiport` match.
const PORTS: usize = 15;

/// A rule: its chain and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The chain it is in.
    pub chain: String,
    /// What follows `-A CHAIN`.
    pub words: Vec<String>,
}

impl Rule {
    fn new(chain: &str, words: &[&str]) -> Rule {
        Rule { chain: chain.to_owned(), words: words.iter().map(|w| (*w).to_owned()).collect() }
    }
}

/// What must be there for any container; shared, and never removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Chains of our own.
    pub chains: Vec<&'static str>,
    /// Rules at the end of their chains.
    pub appended: Vec<Rule>,
    /// Rules at the top of their chains: masquerading rules of other plugins accept before.
    pub prepended: Vec<Rule>,
}

/// The rules of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its chain.
    pub chain: String,
    /// In [`DNAT`], leading to the chain.
    pub entries: Vec<Rule>,
    /// In the chain.
    pub rules: Vec<Rule>,
}

/// The chain of a container in a network, as the reference names it.
pub fn container_chain(owner: &Owner) -> String {
    chain_name("DN-", &owner.network, &owner.container_id)
}

/// The chain of a further interface of the same container in the same network, which the
/// reference does not tell apart.
pub fn interface_chain(owner: &Owner) -> String {
    let Owner { network, container_id, ifname } = owner;
    // A slash is in no network name, container or interface, so no other owner has this text.
    hashed_chain("DN-", &format!("{network}/{container_id}/{ifname}"))
}

/// The chain for source NAT that plugins before 0.8 made for a container.
pub fn old_snat_chain(owner: &Owner) -> String {
    chain_name("SN-", &owner.network, &owner.container_id)
}

/// The comment at the entries of a container.
pub fn comment(owner: &Owner) -> String {
    let mut text = format!("dnat name: \"{}\" id: \"{}\"", owner.network, owner.container_id);
    if text.len() > COMMENT {
        text.truncate(COMMENT - 3);
        text.push_str("...");
    }
    text
}

/// What `forward` needs to be there already.
pub fn base(forward: &Forward) -> Base {
    let local = ["-m", "addrtype", "--dst-type", "LOCAL", "-j", DNAT];
    let mut base = Base {
        chains: vec![DNAT],
        appended: vec![Rule::new("PREROUTING", &local), Rule::new("OUTPUT", &local)],
        prepended: Vec::new(),
    };
    if let (Mark::Bit(bit), true) = (&forward.mark, forward.masquerade != Masquerade::Off) {
        let value = 1u32 << (u32::from(*bit) & 31);
        let mark = format!("{value:#x}/{value:#x}");
        base.chains.extend([SET_MARK, MASQUERADE]);
        let note = ["-m", "comment", "--comment", "CNI portfwd masquerade mark"];
        let set = [&note[..], &["-j", "MARK", "--set-xmark", &mark]].concat();
        base.appended.push(Rule::new(SET_MARK, &set));
        let note = ["-m", "comment", "--comment", "CNI portfwd requiring masquerade"];
        let jump = [&note[..], &["-j", MASQUERADE]].concat();
        base.prepended.push(Rule::new("POSTROUTING", &jump));
        base.appended
            .push(Rule::new(MASQUERADE, &["-m", "mark", "--mark", &mark, "-j", "MASQUERADE"]));
    }
    base
}

/// The rules of the container of `forward`, in `chain`.
pub fn container(forward: &Forward, chain: &str) -> Container {
    let rules = forward.own_mappings().into_iter().flat_map(|m| mapping_rules(forward, chain, &m));
    Container { chain: chain.to_owned(), entries: entries(forward, chain), rules: rules.collect() }
}

fn entries(forward: &Forward, chain: &str) -> Vec<Rule> {
    let comment = comment(&forward.owner);
    let mut entries = Vec::new();
    for protocol in Protocol::ALL {
        // The mappings of the other family are listed too: the reference's CHECK wants them,
        // and the container's chain has nothing for them.
        let ports: Vec<String> = forward
            .mappings
            .iter()
            .filter(|m| m.protocol == protocol)
            .map(|m| m.host_port.to_string())
            .collect();
        for ports in ports.chunks(PORTS) {
            let mut words = Vec::with_capacity(16);
            words.extend(["-m", "comment", "--comment", comment.as_str()]);
            words.extend(["-m", "multiport", "-p", protocol.as_str(), "--destination-ports"]);
            let ports = ports.join(",");
            words.push(&ports);
            words.extend(forward.conditions.iter().map(String::as_str));
            words.extend(["-j", chain]);
            entries.push(Rule::new(DNAT, &words));
        }
    }
    entries
}

/// The words are those that iptables prints, so that a listing can be compared with them.
fn mapping_rules(forward: &Forward, chain: &str, mapping: &Mapping) -> Vec<Rule> {
    let port = mapping.host_port.to_string();
    let protocol = mapping.protocol.as_str();
    let address = mapping.address().map(|ip| IpNetwork::from(ip).to_string());
    let mut matches: Vec<&str> = Vec::new();
    matches.extend(address.iter().flat_map(|ip| ["-d", ip.as_str()]));
    matches.extend(["-p", protocol, "-m", protocol, "--dport", &port]);
    let mark = match &forward.mark {
        Mark::Bit(_) => SET_MARK,
        Mark::Chain(name) => name,
    };
    // The mark must come first: after the translation no further rule is looked at.
    let mut rules = Vec::new();
    for source in marked_sources(forward) {
        let from = source.iter().flat_map(|net| ["-s", net.as_str()]);
        let words: Vec<&str> = from.chain(matches.iter().copied()).chain(["-j", mark]).collect();
        rules.push(Rule::new(chain, &words));
    }
    let target = match forward.pod.ip() {
        IpAddr::V4(ip) => format!("{ip}:{}", mapping.container_port),
        IpAddr::V6(ip) => format!("[{ip}]:{}", mapping.container_port),
    };
    let dnat = ["-j", "DNAT", "--to-destination", &target];
    rules.push(Rule::new(chain, &[&matches[..], &dnat].concat()));
    rules
}

/// Whose packets are marked to be masqueraded; `None` is everybody.
fn marked_sources(forward: &Forward) -> Vec<Option<String>> {
    match forward.masquerade {
        Masquerade::Off => Vec::new(),
        Masquerade::All => vec![None],
        Masquerade::Needed => {
            let net = &forward.pod;
            let mut sources = vec![Some(format!("{}/{}", net.network(), net.prefix()))];
            if forward.family() == Family::V4 {
                sources.push(Some("127.0.0.1/32".to_owned()));
            }
            sources
        }
    }
}

/// A word as iptables-restore reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+![]".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

impl fmt::Display for Rule {
    /// What follows the chain in a line for iptables-restore.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, word) in self.words.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{}", quoted(word))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
