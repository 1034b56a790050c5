//! Policy rules: which routing table a packet is looked up in.

use crate::address::family;
use crate::wire::{Attributes, Request, ip_of, u32_at, u32_of};
use crate::{Netlink, Result};
use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of `struct fib_rule_hdr`.
const HEADER: usize = 12;
/// `FR_ACT_TO_TBL`: the rule names a table.
const TO_TABLE: u8 = 1;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;
/// Attributes that restrict nothing: priority, table, suppressors and the maker's number.
const NO_SELECTORS: [u16; 6] = [FRA_SRC, FRA_PRIORITY, 13, 14, FRA_TABLE, 21];

/// A rule that sends packets to a table by where they come from: `ip rule add from SOURCE lookup
/// TABLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// Source addresses; of prefix length 0 for all of a family.
    pub source: IpNetwork,
    /// The table.
    pub table: u32,
    /// Place among the rules, lower is earlier; before all but that for local addresses where
    /// absent.
    pub priority: Option<u32>,
    /// Whether it asks for nothing besides the source. Rules of this crate never do.
    pub source_only: bool,
}

impl PolicyRule {
    /// The rule that sends packets from `source` to `table`.
    pub fn from_source(source: IpNetwork, table: u32) -> PolicyRule {
        PolicyRule { source, table, priority: None, source_only: true }
    }

    fn request(&self, kind: u16) -> Request {
        let mut body = head(family(self.source.ip()));
        body[2] = self.source.prefix();
        // Tables beyond a byte are told by the attribute alone.
        body[4] = u8::try_from(self.table).unwrap_or_default();
        body[7] = TO_TABLE;
        if self.source.prefix() > 0 {
            match self.source.network() {
                IpAddr::V4(ip) => push(&mut body, FRA_SRC, &ip.octets()),
                IpAddr::V6(ip) => push(&mut body, FRA_SRC, &ip.octets()),
            }
        }
        push(&mut body, FRA_TABLE, &self.table.to_ne_bytes());
        if let Some(priority) = self.priority {
            push(&mut body, FRA_PRIORITY, &priority.to_ne_bytes());
        }
        Request::raw(kind, body)
    }

    fn read(body: &[u8]) -> Option<PolicyRule> {
        let [address_family, dst_len, src_len, tos, table, _, _, action] =
            *body.first_chunk::<8>()?;
        let flags = u32_at(body, 8)?;
        if action != TO_TABLE {
            return None;
        }
        let any: IpAddr = match AddressFamily::from(address_family) {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let mut rule = PolicyRule::from_source(IpNetwork::new(any, 0).ok()?, u32::from(table));
        rule.priority = Some(0);
        rule.source_only = dst_len == 0 && tos == 0 && flags & INVERTED == 0;
        for (kind, value) in Attributes::after(body, HEADER) {
            match kind {
                FRA_SRC => rule.source = IpNetwork::new(ip_of(value)?, src_len).ok()?,
                FRA_TABLE => rule.table = u32_of(value),
                FRA_PRIORITY => rule.priority = Some(u32_of(value)),
                kind => rule.source_only &= NO_SELECTORS.contains(&kind),
            }
        }
        Some(rule)
    }

    fn name(&self) -> String {
        format!("rule from {} lookup {}", self.source, self.table)
    }
}

/// `FIB_RULE_INVERT`.
const INVERTED: u32 = 2;

fn head(family: AddressFamily) -> Vec<u8> {
    let mut body = vec![0; HEADER];
    body[0] = u8::from(family);
    body
}

fn push(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
}

impl Netlink {
    /// Adds a rule.
    ///
    /// # Errors
    /// With EEXIST if the very same rule is there, and when the kernel refuses.
    pub fn add_rule(&self, rule: &PolicyRule) -> Result<()> {
        let op = || format!("add {}", rule.name());
        let request = rule.request(libc::RTM_NEWRULE);
        self.socket.borrow_mut().change(&request, NLM_F_CREATE | NLM_F_EXCL, op)
    }

    /// Takes a rule away; says whether it was there. Without a priority it is the first that fits.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_rule(&self, rule: &PolicyRule) -> Result<bool> {
        let op = || format!("delete {}", rule.name());
        match self.socket.borrow_mut().change(&rule.request(libc::RTM_DELRULE), 0, op) {
            Ok(()) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The rules of both families that lead to a table, in the order in which they are asked.
    ///
    /// # Errors
    /// When the kernel refuses to tell; [`crate::Error::is_unsupported`] if it has no policy
    /// routing.
    pub fn rules(&self) -> Result<Vec<PolicyRule>> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let request = Request::raw(libc::RTM_GETRULE, head(family));
            let read = |kind, body: &[u8]| {
                (kind == libc::RTM_NEWRULE).then(|| PolicyRule::read(body)).flatten()
            };
            let listed = self.socket.borrow_mut().dump(&request, || "list rules".to_owned(), read);
            match listed {
                // A kernel without IPv6, or with IPv6 switched off.
                Err(e) if family == AddressFamily::Inet6 && e.is_unsupported() => {}
                other => all.extend(other?),
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_back() {
        for (source, table) in [("10.0.0.5/32", 100), ("fd00::5/128", 70_000), ("0.0.0.0/0", 7)] {
            let rule = PolicyRule {
                priority: Some(9),
                ..PolicyRule::from_source(source.parse().expect("network"), table)
            };
            assert_eq!(PolicyRule::read(&rule.request(0).body), Some(rule));
        }
    }

    #[test]
    fn other_selectors_are_noticed() {
        let rule = PolicyRule::from_source("10.0.0.5/32".parse().expect("network"), 100);
        let mut body = rule.request(0).body;
        push(&mut body, 10, &[1, 0, 0, 0]);
        assert!(!PolicyRule::read(&body).expect("a rule").source_only);
        let mut body = rule.request(0).body;
        body[3] = 8;
        assert!(!PolicyRule::read(&body).expect("a rule").source_only);
        body[7] = 6;
        assert_eq!(PolicyRule::read(&body), None);
    }
}
