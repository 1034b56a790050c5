//! The operator's conditions (`conditionsV4`, `conditionsV6`), in the language of the backend.

use super::Family;
use crate::nft::{CmpOp, Expr, Meta, PayloadBase, Reg};
use ipnetwork::IpNetwork;
use std::fmt;
use std::net::IpAddr;

/// How many rules one mapping may become by sets in conditions.
const ALTERNATIVES: usize = 64;
/// Bytes of an interface name in a register.
const NAME: usize = 16;

/// Why a condition cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

fn fault<T>(text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(text.into()))
}

/// What the nftables backend understands, for the operator.
pub const UNDERSTOOD: &str = "understood are [ip|ip6] saddr|daddr, ip protocol, ip6 nexthdr, \
    [meta] iifname|oifname|mark|l4proto and tcp|udp|sctp|th sport|dport, each with an optional \
    == or != and a value, range a-b, prefix or set { a, b }";

/// Whether `conditions` are written for iptables; `None` when there are none.
pub fn is_iptables(conditions: &[String]) -> Option<bool> {
    // An iptables condition begins with an option or a negation, and no nftables one does.
    let first = conditions.first().filter(|c| !c.is_empty())?;
    Some(first.starts_with(['-', '!']))
}

/// Refuses words that would be more than a condition in an iptables rule.
///
/// # Errors
/// A [`Fault`] that quotes the word.
pub fn validate_iptables(words: &[String]) -> Result<(), Fault> {
    const LONG: [&str; 25] = [
        "append",
        "check",
        "delete",
        "insert",
        "replace",
        "list",
        "list-rules",
        "flush",
        "zero",
        "new-chain",
        "delete-chain",
        "rename-chain",
        "policy",
        "table",
        "jump",
        "goto",
        "help",
        "version",
        "wait",
        "wait-interval",
        "modprobe",
        "set-counters",
        "line-numbers",
        "verbose",
        "exact",
    ];
    for word in words {
        if word.chars().any(char::is_control) {
            return fault(format!("{word:?} has a control character"));
        }
        let is_command = match word.strip_prefix("--") {
            Some(long) => {
                let name = long.split('=').next().unwrap_or(long);
                // getopt_long takes an unambiguous start of a name for the name.
                !name.is_empty() && LONG.iter().any(|l| l.starts_with(name) && name.len() > 2)
            }
            None => word.strip_prefix('-').is_some_and(|short| {
                // Short options can be run together with their value, as in -jACCEPT.
                short.starts_with(|c: char| "ACDIRLSFZNXEPtjghVwWMcvnx".contains(c))
            }),
        };
        if is_command {
            return fault(format!("{word:?} is not a match but a command or a target"));
        }
    }
    Ok(())
}

/// One or more lists of steps; a packet must pass one of the lists.
pub type Alternatives = Vec<Vec<Expr>>;

/// Reads nftables conditions of rules in a table of `family`.
///
/// # Errors
/// A [`Fault`] for what is not understood; see [`UNDERSTOOD`].
pub fn parse_nft(family: Family, conditions: &[String]) -> Result<Alternatives, Fault> {
    let mut words = Words::new(&conditions.join(" "))?;
    let mut all: Alternatives = vec![Vec::new()];
    while let Some(word) = words.next() {
        let field = field(family, &word, &mut words)?;
        let negated = words.skip("!=");
        if !negated {
            words.skip("==");
        }
        let mut choices = Vec::new();
        for value in words.values()? {
            choices.push(field.compare(&value, negated)?);
        }
        if negated {
            // Outside of a set means outside of each of its elements.
            choices = vec![choices.concat()];
        }
        all = all
            .iter()
            .flat_map(|head| choices.iter().map(move |c| [&head[..], &c[..]].concat()))
            .collect();
        if all.len() > ALTERNATIVES {
            return fault(format!("sets with more than {ALTERNATIVES} combinations"));
        }
    }
    Ok(all)
}

struct Words {
    rest: std::vec::IntoIter<String>,
}

impl Words {
    fn new(text: &str) -> Result<Words, Fault> {
        if text.chars().any(|c| c.is_control() || ";#\\".contains(c)) {
            return fault(format!("{text:?} has a character that no condition has"));
        }
        let spaced = text.replace('{', " { ").replace('}', " } ").replace(',', " , ");
        let words: Vec<_> = spaced
            .split_whitespace()
            .map(|w| w.trim_matches('"').to_owned())
            .filter(|w| !w.is_empty())
            .collect();
        Ok(Words { rest: words.into_iter() })
    }

    fn next(&mut self) -> Option<String> {
        self.rest.next()
    }

    fn skip(&mut self, word: &str) -> bool {
        let found = self.rest.as_slice().first().is_some_and(|w| w == word);
        if found {
            self.rest.next();
        }
        found
    }

    fn values(&mut self) -> Result<Vec<String>, Fault> {
        if !self.skip("{") {
            return match self.next() {
                Some(value) => Ok(vec![value]),
                None => fault("ends where a value is expected"),
            };
        }
        let mut values = Vec::new();
        loop {
            match self.next().as_deref() {
                None => return fault("a set is not closed"),
                Some("}") => break,
                Some(",") => {}
                Some(value) => values.push(value.to_owned()),
            }
        }
        if values.is_empty() { fault("a set is empty") } else { Ok(values) }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Address(Family),
    Port,
    Protocol,
    Name,
    Mark,
}

struct Field {
    load: Vec<Expr>,
    kind: Kind,
}

fn field(family: Family, word: &str, words: &mut Words) -> Result<Field, Fault> {
    let wrong = |text: &str| fault(format!("{text:?} is not understood"));
    let mut rest = |head: &str| match words.next() {
        Some(word) => Ok(word),
        None => fault(format!("{head:?} is not a whole condition")),
    };
    match word {
        "ip" | "ip6" => {
            let own = if word == "ip" { Family::V4 } else { Family::V6 };
            if own != family {
                return fault(format!("{word:?} is of the other address family"));
            }
            let name = rest(word)?;
            match (name.as_str(), own) {
                ("saddr", Family::V4) => Ok(network(12, 4, Kind::Address(own))),
                ("daddr", Family::V4) => Ok(network(16, 4, Kind::Address(own))),
                ("saddr", Family::V6) => Ok(network(8, 16, Kind::Address(own))),
                ("daddr", Family::V6) => Ok(network(24, 16, Kind::Address(own))),
                ("protocol", Family::V4) => Ok(network(9, 1, Kind::Protocol)),
                ("nexthdr", Family::V6) => Ok(network(6, 1, Kind::Protocol)),
                _ => wrong(&format!("{word} {name}")),
            }
        }
        "tcp" | "udp" | "sctp" | "th" => {
            let name = rest(word)?;
            let offset = match name.as_str() {
                "sport" => 0,
                "dport" => 2,
                _ => return wrong(&format!("{word} {name}")),
            };
            Ok(transport(word, offset))
        }
        "meta" => meta(&rest(word)?).map_or_else(|| wrong("meta"), Ok),
        other => meta(other).map_or_else(|| wrong(other), Ok),
    }
}

fn network(offset: u32, len: u32, kind: Kind) -> Field {
    let load = Expr::Payload { base: PayloadBase::Network, offset, len, dreg: Reg::R1 };
    Field { load: vec![load], kind }
}

fn transport(protocol: &str, offset: u32) -> Field {
    let mut load = Vec::new();
    if let Some(protocol) = super::Protocol::parse(protocol) {
        load.push(Expr::Meta { key: Meta::L4Proto, dreg: Reg::R1 });
        load.push(Expr::Cmp { sreg: Reg::R1, op: CmpOp::Eq, data: vec![protocol.number()] });
    }
    load.push(Expr::Payload { base: PayloadBase::Transport, offset, len: 2, dreg: Reg::R1 });
    Field { load, kind: Kind::Port }
}

fn meta(name: &str) -> Option<Field> {
    let (key, kind) = match name {
        "iifname" => (Meta::IifName, Kind::Name),
        "oifname" => (Meta::OifName, Kind::Name),
        "mark" => (Meta::Mark, Kind::Mark),
        "l4proto" => (Meta::L4Proto, Kind::Protocol),
        _ => return None,
    };
    Some(Field { load: vec![Expr::Meta { key, dreg: Reg::R1 }], kind })
}

impl Field {
    fn compare(&self, value: &str, negated: bool) -> Result<Vec<Expr>, Fault> {
        let mut steps = self.load.clone();
        let range = value.split_once('-').filter(|_| !matches!(self.kind, Kind::Name));
        if let Some((from, to)) = range {
            let (from, to) = (self.data(from)?, self.data(to)?);
            // Marks are kept in machine order, in which the kernel cannot tell less from more.
            if matches!(self.kind, Kind::Mark) || from > to {
                return fault(format!("{value:?} is not a range"));
            }
            steps.push(Expr::Range { sreg: Reg::R1, invert: negated, from, to });
            return Ok(steps);
        }
        let mut data = self.data(value.split('/').next().unwrap_or(value))?;
        if let (Kind::Address(_), true) = (self.kind, value.contains('/')) {
            let net: IpNetwork = value.parse().map_err(|e| Fault(format!("{value:?}: {e}")))?;
            if net.prefix() == 0 {
                // Every address: nothing to compare, or nothing that could ever match.
                return if negated { fault(format!("{value:?} excludes all")) } else { Ok(vec![]) };
            }
            let mask = octets(net.mask());
            let xor = vec![0; mask.len()];
            steps.push(Expr::Bitwise { sreg: Reg::R1, dreg: Reg::R1, mask, xor });
            data = octets(net.network());
        } else if value.contains('/') {
            return fault(format!("{value:?} is not a value"));
        }
        let op = if negated { CmpOp::Neq } else { CmpOp::Eq };
        steps.push(Expr::Cmp { sreg: Reg::R1, op, data });
        Ok(steps)
    }

    fn data(&self, value: &str) -> Result<Vec<u8>, Fault> {
        let wrong = |what: &str| Fault(format!("{value:?} is not {what}"));
        match self.kind {
            Kind::Address(family) => match value.parse::<IpAddr>() {
                Ok(ip) if Family::of(ip) == family => Ok(octets(ip)),
                _ => Err(wrong("an address of the family")),
            },
            Kind::Port => {
                value.parse::<u16>().map(|p| p.to_be_bytes().to_vec()).map_err(|_| wrong("a port"))
            }
            Kind::Protocol => match super::Protocol::parse(value) {
                Some(protocol) => Ok(vec![protocol.number()]),
                None => value.parse::<u8>().map(|n| vec![n]).map_err(|_| wrong("a protocol")),
            },
            Kind::Mark => {
                let number = match value.strip_prefix("0x") {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => value.parse(),
                };
                number.map(|n| n.to_ne_bytes().to_vec()).map_err(|_| wrong("a mark"))
            }
            Kind::Name => interface(value).ok_or_else(|| wrong("an interface name")),
        }
    }
}

fn interface(value: &str) -> Option<Vec<u8>> {
    let (name, is_prefix) = value.strip_suffix('*').map_or((value, false), |name| (name, true));
    if name.is_empty() || name.len() >= NAME || name.contains(['*', '/']) {
        return None;
    }
    let mut data = name.as_bytes().to_vec();
    if !is_prefix {
        data.resize(NAME, 0);
    }
    Some(data)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
