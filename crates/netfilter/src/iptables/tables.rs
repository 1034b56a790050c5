//! One table of iptables as it is now, read without a process where iptables works on nf_tables.

use super::{Family, SavedRule, Script, has_legacy_table, is_over_nft, rules_of_table, single};
use crate::nft::{
    Address, Batch, ChainRef, CmpOp, Error as NftError, Expr, Meta, Nft, PayloadBase, RuleInfo,
    Verdict,
};
use cni_types::{Code, Error, Result};
use std::net::IpAddr;

/// How often rules are listed and deleted again because somebody else was faster.
const ATTEMPTS: usize = 16;

/// A table of one family.
pub(crate) struct Tables {
    family: Family,
    table: &'static str,
    /// The nf_tables below, where iptables works on them.
    nft: Option<Nft>,
    /// The legacy table's rules, once they were asked for.
    saved: Option<Vec<SavedRule>>,
}

/// A rule of the table.
#[derive(Clone, Debug)]
pub(crate) enum Listed {
    /// As nf_tables lists it.
    Nft(Box<RuleInfo>),
    /// As the program lists it.
    Saved(SavedRule),
}

impl Drop for Tables {
    fn drop(&mut self) {
        if let Some(nft) = &self.nft {
            nft.leave_to_collector();
        }
    }
}

fn kernel(error: &NftError) -> Error {
    Error::new(Code::Kernel, format!("iptables over nf_tables: {error}"))
}

impl Tables {
    /// The table in the calling thread's namespace.
    ///
    /// # Errors
    /// [`Code::Kernel`] when iptables works on nf_tables and the kernel gives no socket.
    pub(crate) fn open(family: Family, table: &'static str) -> Result<Tables> {
        let nft =
            if is_over_nft(family) { Some(Nft::open().map_err(|e| kernel(&e))?) } else { None };
        Ok(Tables { family, table, nft, saved: None })
    }

    /// An empty transaction on the table.
    pub(crate) fn script(&self) -> Script {
        Script::new(self.family, self.table)
    }

    /// Forgets what was listed.
    pub(crate) fn refresh(&mut self) {
        self.saved = None;
    }

    /// # Errors
    /// [`Code::Kernel`], [`Code::Program`].
    pub(crate) fn has_chain(&mut self, chain: &str) -> Result<bool> {
        let at = ChainRef::new(self.family.over_nft(), self.table, chain);
        if let Some(nft) = &mut self.nft {
            return nft.chain(at).map(|c| c.is_some()).map_err(|e| kernel(&e));
        }
        if !has_legacy_table(self.family, self.table) {
            return Ok(false);
        }
        single(self.family).chain_exists(self.table, chain).map_err(|e| {
            let cause = e.to_string();
            Error::new(Code::Program, format!("{}: {}", self.family.program(), cause.trim()))
        })
    }

    /// The rules of a chain in order; none if it is not there.
    ///
    /// # Errors
    /// [`Code::Kernel`], [`Code::Program`].
    pub(crate) fn rules(&mut self, chain: &str) -> Result<Vec<Listed>> {
        let at = ChainRef::new(self.family.over_nft(), self.table, chain);
        if let Some(nft) = &mut self.nft {
            let rules = match nft.rules(at) {
                // The kernel has netfilter but not nf_tables.
                Err(e) if e.is_unsupported() || e.errno == libc::EINVAL => Vec::new(),
                other => other.map_err(|e| kernel(&e))?,
            };
            return Ok(rules.into_iter().map(|rule| Listed::Nft(Box::new(rule))).collect());
        }
        if self.saved.is_none() {
            let there = has_legacy_table(self.family, self.table);
            let listed = if there { rules_of_table(self.family, self.table)? } else { Vec::new() };
            self.saved = Some(listed);
        }
        let of_chain = self.saved.iter().flatten().filter(|rule| rule.chain == chain);
        Ok(of_chain.cloned().map(Listed::Saved).collect())
    }

    /// Deletes the rules of a chain that `unwanted` names; without a process over nf_tables.
    ///
    /// # Errors
    /// [`Code::Kernel`], [`Code::Program`]; [`Code::TryAgain`] when others changed the rules during
    /// every attempt.
    pub(crate) fn delete(&mut self, chain: &str, unwanted: impl Fn(&Listed) -> bool) -> Result<()> {
        let name = self.family.program();
        let text = format!("{name}: chain {chain} changed during every attempt to delete from it");
        let mut fault = Error::new(Code::TryAgain, text);
        for _ in 0..ATTEMPTS {
            self.refresh();
            let doomed: Vec<_> = self.rules(chain)?.into_iter().filter(&unwanted).collect();
            if doomed.is_empty() {
                return Ok(());
            }
            match self.delete_listed(chain, &doomed) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // The program does not tell whether a rule was gone, or what else it was.
                Err(e) => fault = e,
            }
        }
        Err(fault)
    }

    /// Whether all were there and are deleted; otherwise none is.
    fn delete_listed(&mut self, chain: &str, doomed: &[Listed]) -> Result<bool> {
        let mut script = self.script();
        let at = ChainRef::new(self.family.over_nft(), self.table, chain);
        let mut batch = Batch::new();
        for rule in doomed {
            match rule {
                Listed::Nft(rule) => batch.delete_rule(at, rule.handle),
                Listed::Saved(rule) => {
                    script.line(format_args!("-D {chain} {}", rule.spec));
                }
            }
        }
        let Some(nft) = &mut self.nft else {
            self.saved = None;
            return script.run().map(|()| true);
        };
        match nft.commit(batch) {
            Err(e) if e.is_not_found() => Ok(false),
            other => other.map(|_| true).map_err(|e| kernel(&e)),
        }
    }
}

impl Listed {
    /// The one address that the rule asks for as source or destination.
    pub(crate) fn host(&self, which: Address) -> Option<IpAddr> {
        match self {
            Listed::Nft(rule) => rule.exprs().windows(2).find_map(|pair| host_of(pair, which)),
            Listed::Saved(rule) => {
                let option = if which == Address::Source { "-s" } else { "-d" };
                let (ip, length) = rule.value(option)?.split_once('/')?;
                let ip: IpAddr = ip.parse().ok()?;
                (length == if ip.is_ipv4() { "32" } else { "128" }).then_some(ip)
            }
        }
    }

    /// Whether the rule asks for this link, or for any but it, as input or output.
    pub(crate) fn is_about_link(&self, name: &str) -> bool {
        match self {
            Listed::Nft(rule) => rule.exprs().windows(2).any(|pair| match pair {
                [Expr::Meta { key: Meta::IifName | Meta::OifName, .. }, Expr::Cmp { data, .. }] => {
                    data.split(|byte| *byte == 0).next() == Some(name.as_bytes())
                }
                _ => false,
            }),
            Listed::Saved(rule) => ["-i", "-o"].iter().any(|o| rule.value(o) == Some(name)),
        }
    }

    /// The link that packets come in by, if the rule asks for one.
    pub(crate) fn input(&self) -> Option<String> {
        match self {
            Listed::Nft(rule) => rule.exprs().windows(2).find_map(|pair| match pair {
                [Expr::Meta { key: Meta::IifName, .. }, Expr::Cmp { data, op: CmpOp::Eq, .. }] => {
                    let name = data.split(|byte| *byte == 0).next().unwrap_or_default();
                    Some(String::from_utf8_lossy(name).into_owned())
                }
                _ => None,
            }),
            Listed::Saved(rule) => rule.value("-i").map(str::to_owned),
        }
    }

    /// Where the rule sends a packet: the name of a chain, `ACCEPT`, `DROP` or `RETURN`.
    pub(crate) fn target(&self) -> Option<String> {
        match self {
            Listed::Nft(rule) => rule.exprs().into_iter().rev().find_map(|expr| match expr {
                Expr::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => Some(to),
                Expr::Verdict(Verdict::Accept) => Some("ACCEPT".to_owned()),
                Expr::Verdict(Verdict::Drop) => Some("DROP".to_owned()),
                Expr::Verdict(Verdict::Return) => Some("RETURN".to_owned()),
                _ => None,
            }),
            Listed::Saved(rule) => rule.target().map(str::to_owned),
        }
    }

    /// How many matches the rule has that nf_tables has no expression for, or that the program lists
    /// by `-m`.
    pub(crate) fn extensions(&self) -> usize {
        match self {
            Listed::Nft(rule) => rule
                .exprs()
                .iter()
                .filter(|expr| !matches!(expr, Expr::Counter) && !is_plain(expr))
                .count(),
            Listed::Saved(rule) => rule.spec.split(' ').filter(|word| *word == "-m").count(),
        }
    }

    /// Whether the rule has this comment.
    pub(crate) fn says(&self, comment: &str) -> bool {
        match self {
            Listed::Nft(rule) => {
                let ended: Vec<u8> = comment.bytes().chain([0]).collect();
                rule.comment.as_deref() == Some(comment) || rule.mentions(&ended)
            }
            Listed::Saved(rule) => rule.comment() == Some(comment),
        }
    }
}

/// Whether an expression is a comparison of addresses or links, or the verdict.
fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::Payload { base: PayloadBase::Network, .. } | Expr::Cmp { .. } | Expr::Verdict(_) => {
            true
        }
        Expr::Meta { key, .. } => matches!(key, Meta::IifName | Meta::OifName),
        _ => false,
    }
}

fn host_of(pair: &[Expr], which: Address) -> Option<IpAddr> {
    let [
        Expr::Payload { base: PayloadBase::Network, offset, len, .. },
        Expr::Cmp { op: CmpOp::Eq, data, .. },
    ] = pair
    else {
        return None;
    };
    match (offset, len, which) {
        (12, 4, Address::Source) | (16, 4, Address::Destination) => {
            <[u8; 4]>::try_from(data.as_slice()).ok().map(IpAddr::from)
        }
        (8, 16, Address::Source) | (24, 16, Address::Destination) => {
            <[u8; 16]>::try_from(data.as_slice()).ok().map(IpAddr::from)
        }
        _ => None,
    }
}
