//! `macspoofchk`: frames from a pod with another source hardware address are dropped.
//!
//! Table, chains and comments are those of the reference plugin, so that each removes what the
//! other made. A tag beside the comment, unseen by `nft`, names the network's attachment for GC.

use cni_plugin::{Call, Owner, owner};
use cni_types::{Attachment, Code, Error, Result};
use netfilter::nft::{
    BaseChain, Batch, COMMENT_MAX, Chain, ChainRef, ChainType, Expr, Family, Hook, Nft, Rule,
    RuleInfo, Table, Verdict,
};
use netlink::Mac;
use std::collections::BTreeMap;

const TABLE: &str = "nat";
const BASE: ChainRef<'static> = ChainRef::new(Family::Bridge, TABLE, "PREROUTING");
/// Before everything that looks into frames.
const HOOK: BaseChain =
    BaseChain { kind: ChainType::Filter, hook: Hook::Prerouting, priority: -300 };

/// The rules of one attachment.
pub(crate) struct Spoof {
    /// The chain that the frames of its port go through.
    port_chain: String,
    /// The chain that knows its hardware address.
    mac_chain: String,
    comment: String,
    tag: String,
}

fn chain(name: &str) -> ChainRef<'_> {
    ChainRef::new(Family::Bridge, TABLE, name)
}

impl Spoof {
    /// The rules of the attachment of `call`.
    pub(crate) fn of(call: &Call) -> Spoof {
        let id = format!("{}-{}", call.container_id, call.ifname);
        let mut comment = format!("macspoofchk-{id}");
        comment.truncate(COMMENT_MAX);
        let port_chain = format!("cni-br-iface-{id}");
        let mac_chain = format!("{port_chain}-mac");
        Spoof { port_chain, mac_chain, comment, tag: Owner::of(call).alias().to_owned() }
    }

    fn rule<'a>(&self, at: &'a str) -> Rule<'a> {
        let mut tag = self.tag.clone();
        // Comment and tag share what the kernel keeps with a rule.
        tag.truncate(251_usize.saturating_sub(self.comment.len()));
        Rule::new(chain(at)).comment(self.comment.as_str()).owner(tag)
    }

    /// The rules, in the order they are added: from the hook, then to the address, then both ends.
    fn rules(&self, port: &str, mac: Mac) -> [Rule<'_>; 4] {
        [
            self.rule(BASE.name).iifname(port).jump(&self.port_chain),
            self.rule(&self.port_chain).jump(&self.mac_chain),
            self.rule(&self.mac_chain).ether_saddr(mac.0).verdict(Verdict::Return),
            self.rule(&self.mac_chain).verdict(Verdict::Drop),
        ]
    }

    /// Lets only frames from `mac` in through `port`, in one transaction.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn setup(&self, port: &str, mac: Mac) -> Result<()> {
        let mut nft = Nft::open()?;
        let mut batch = Batch::new();
        // Left by an ADD that was killed.
        if nft.chain(chain(&self.port_chain))?.is_some() {
            for old in self.jumps(&nft.rules(BASE)?) {
                batch.delete_rule(BASE, old.handle);
            }
        }
        batch.add_table(&Table { family: Family::Bridge, name: TABLE, comment: None });
        batch.add_chain(&Chain::base(BASE, HOOK));
        for name in [&self.port_chain, &self.mac_chain] {
            batch.add_chain(&Chain::regular(chain(name)));
            batch.flush_chain(chain(name));
        }
        for rule in self.rules(port, mac) {
            batch.add_rule(&rule);
        }
        nft.commit(batch)?;
        Ok(())
    }

    /// The rules of the base chain that lead to this attachment's.
    fn jumps<'r>(&self, rules: &'r [RuleInfo]) -> Vec<&'r RuleInfo> {
        let jump = Expr::Verdict(Verdict::Jump(self.port_chain.clone()));
        rules.iter().filter(|rule| rule.exprs().contains(&jump)).collect()
    }

    /// Removes the rules; success when there are none, or no nf_tables.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn teardown(&self) -> Result<()> {
        let mut nft = Nft::open()?;
        let rules = match nft.rules(BASE) {
            Err(e) if e.is_unsupported() => return Ok(()),
            other => other?,
        };
        let mut batch = Batch::new();
        for rule in self.jumps(&rules) {
            batch.delete_rule(BASE, rule.handle);
        }
        for name in [&self.port_chain, &self.mac_chain] {
            if nft.chain(chain(name))?.is_some() {
                batch.delete_chain(chain(name));
            }
        }
        nft.commit(batch)?;
        Ok(())
    }

    /// Whether the rules are all there.
    ///
    /// # Errors
    /// [`Code::Drift`]; those of the kernel.
    pub(crate) fn check(&self, port: &str, mac: Mac) -> Result<()> {
        let mut nft = Nft::open()?;
        let mut lists: BTreeMap<&str, Vec<RuleInfo>> = BTreeMap::new();
        for name in [BASE.name, &self.port_chain, &self.mac_chain] {
            lists.insert(name, nft.rules(chain(name))?);
        }
        for rule in self.rules(port, mac) {
            let name = rule.chain.name;
            let list = lists.get(name).map(Vec::as_slice).unwrap_or_default();
            if !list.iter().any(|found| found.exprs() == rule.exprs) {
                return Err(cni_plugin::verify::drift(
                    format!("macspoofchk: chain bridge {TABLE} {name}"),
                    format!("a rule for {port} with hardware address {mac} is gone"),
                ));
            }
        }
        Ok(())
    }
}

/// Removes the rules of `network` that belong to none of the `valid` attachments.
///
/// # Errors
/// Those of the kernel.
pub(crate) fn gc(network: &str, valid: &[Attachment]) -> Result<()> {
    let mut nft = Nft::open()?;
    let rules = match nft.table_rules(Family::Bridge, TABLE) {
        Err(e) if e.is_unsupported() => return Ok(()),
        other => other?,
    };
    let prefix = owner::prefix(network);
    let keep: Vec<_> = valid.iter().map(|a| Owner::attachment(network, a)).collect();
    let stale = |rule: &RuleInfo| {
        let tag = rule.owner.as_deref().and_then(|tag| std::str::from_utf8(tag).ok());
        tag.is_some_and(|tag| {
            tag.starts_with(&prefix) && !keep.iter().any(|k| k.alias().starts_with(tag))
        })
    };
    let mut batch = Batch::new();
    let mut chains: Vec<&str> = Vec::new();
    for rule in rules.iter().filter(|rule| stale(rule)) {
        if rule.chain == BASE.name {
            batch.delete_rule(BASE, rule.handle);
        } else if !chains.contains(&rule.chain.as_str()) {
            chains.push(&rule.chain);
        }
    }
    // The chain of a port jumps to that of its address, which is named after it: it goes first.
    chains.sort_by_key(|name| name.len());
    for name in chains {
        batch.delete_chain(chain(name));
    }
    nft.commit(batch).map(drop).map_err(|e| Error::from(e).context("macspoofchk"))
}

/// Whether [`Spoof::setup`] can work here.
///
/// # Errors
/// [`Code::NotAvailable`].
pub(crate) fn probe() -> Result<()> {
    let works = || -> Result<()> {
        Nft::open()?.generation()?;
        Ok(())
    };
    works().map_err(|e| Error { code: Code::NotAvailable, ..e }.context("macspoofchk"))
}
