//! Host ports in iptables: one `iptables-restore` for all rules of an attachment in a family.
//!
//! Where `iptables` works on nf_tables, what can be asked or removed without knowing iptables'
//! own extensions goes over netlink, without any process.

use super::chain::{self, Base, Container, DNAT, MASQUERADE, OLD_SNAT, SET_MARK};
use super::nftables::Listed;
use super::{Family, Forward, Mapping, Mark, Masquerade, Owner, Protocol};
use crate::iptables::{self, Running, SavedRule, Script};
use crate::nft::{self, Batch, ChainRef, Expr, Nft, RuleInfo, Verdict};
use cni_types::{Code, Error, Result};
use std::collections::HashSet;
use std::net::IpAddr;

const TABLE: &str = "nat";
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The iptables backend for one family, in the calling thread's network namespace.
pub struct Iptables {
    family: Family,
    /// The nf_tables below, where `iptables` works on them.
    nft: Option<Nft>,
}

impl Drop for Iptables {
    fn drop(&mut self) {
        if let Some(nft) = &self.nft {
            nft.leave_to_collector();
        }
    }
}

/// An ADD under way.
#[must_use = "finish it to learn whether it worked"]
pub struct Adding {
    running: Option<Running>,
}

fn program_family(family: Family) -> iptables::Family {
    match family {
        Family::V4 => iptables::Family::V4,
        Family::V6 => iptables::Family::V6,
    }
}

fn kernel(error: &nft::Error) -> Error {
    Error::new(Code::Kernel, format!("iptables over nf_tables: {error}"))
}

fn leads_to(rule: &RuleInfo, chain: &str) -> bool {
    matches!(rule.exprs().last(), Some(Expr::Verdict(Verdict::Jump(to))) if to == chain)
}

impl Iptables {
    /// The backend of `family`.
    ///
    /// # Errors
    /// [`Code::Kernel`] when iptables works on nf_tables and the kernel gives no socket.
    pub fn open(family: Family) -> Result<Iptables> {
        let nft = if iptables::is_over_nft(program_family(family)) {
            Some(Nft::open().map_err(|e| kernel(&e))?)
        } else {
            None
        };
        Ok(Iptables { family, nft })
    }

    /// Both families; one that cannot be opened is left out.
    pub fn all() -> Vec<Iptables> {
        FAMILIES.into_iter().filter_map(|family| Iptables::open(family).ok()).collect()
    }

    /// The family.
    pub fn family(&self) -> Family {
        self.family
    }

    fn programs(&self) -> iptables::Family {
        program_family(self.family)
    }

    fn name<'a>(&self, chain: &'a str) -> ChainRef<'a> {
        ChainRef::new(self.programs().over_nft(), TABLE, chain)
    }

    fn has_chain(&mut self, chain: &str) -> Result<bool> {
        let at = self.name(chain);
        if let Some(nft) = &mut self.nft {
            return nft.chain(at).map(|c| c.is_some()).map_err(|e| kernel(&e));
        }
        if !iptables::has_legacy_table(self.programs(), TABLE) {
            return Ok(false);
        }
        let tables = iptables::single(self.programs());
        tables.chain_exists(TABLE, chain).map_err(|e| self.fault(&*e))
    }

    fn chains(&self) -> Result<HashSet<String>> {
        let listed = iptables::single(self.programs()).list_chains(TABLE);
        Ok(listed.map_err(|e| self.fault(&*e))?.into_iter().collect())
    }

    fn fault(&self, cause: &dyn std::error::Error) -> Error {
        let cause = cause.to_string();
        Error::new(Code::Program, format!("{}: {}", self.programs().program(), cause.trim()))
    }

    fn rules_of(&self, chain: &str) -> Result<Vec<SavedRule>> {
        iptables::rules_of(self.programs(), TABLE, chain)
    }

    /// Starts to add the rules of `forward` in `chain`, on the supposition that the chain is new
    /// and the shared chains are there; [`Adding::finish`] tells whether that held.
    ///
    /// # Errors
    /// [`Code::Program`] when the program is missing or cannot be started.
    pub fn start_add(&mut self, forward: &Forward, chain: &str) -> Result<Adding> {
        let base = chain::base(forward);
        let mut script = Script::new(self.programs(), TABLE);
        match self.has_base(forward)? {
            Some(false) => return Ok(Adding { running: None }),
            Some(true) => {}
            None => {
                for rule in base.appended.iter().chain(&base.prepended) {
                    script.line(format_args!("-C {} {rule}", rule.chain));
                }
            }
        }
        script.line(format_args!("-N {chain}"));
        append(&mut script, &chain::container(forward, chain));
        Ok(Adding { running: Some(script.spawn()?) })
    }

    /// Adds the rules of `forward` in `chain` whatever is there: makes what is missing of the
    /// shared chains and replaces what the chain had.
    ///
    /// Two at once could both add what is missing: the caller holds a lock.
    ///
    /// # Errors
    /// [`Code::Program`].
    pub fn repair(&mut self, forward: &Forward, chain: &str) -> Result<()> {
        let Base { chains, appended, prepended } = chain::base(forward);
        let there = self.chains()?;
        let is_missing = |rule: &chain::Rule| {
            // iptables reports a rule that is not there as a failure of its own.
            !there.contains(&rule.chain)
                || Script::new(self.programs(), TABLE)
                    .line(format_args!("-C {} {rule}", rule.chain))
                    .clone()
                    .run()
                    .is_err()
        };
        let mut script = Script::new(self.programs(), TABLE);
        for name in chains.into_iter().filter(|c| !there.contains(*c)) {
            script.line(format_args!(":{name} - [0:0]"));
        }
        script.line(format_args!(":{chain} - [0:0]"));
        for rule in appended.iter().filter(|r| is_missing(r)) {
            script.line(format_args!("-A {} {rule}", rule.chain));
        }
        for rule in prepended.iter().filter(|r| is_missing(r)) {
            script.line(format_args!("-I {} 1 {rule}", rule.chain));
        }
        if there.contains(DNAT) {
            for old in self.rules_of(DNAT)?.iter().filter(|r| r.target() == Some(chain)) {
                script.line(format_args!("-D {DNAT} {}", old.spec));
            }
        }
        append(&mut script, &chain::container(forward, chain));
        script.run()
    }

    /// Whether the shared chains are in order; `None` when only iptables itself can tell.
    fn has_base(&mut self, forward: &Forward) -> Result<Option<bool>> {
        let mut wanted = vec![("PREROUTING", DNAT), ("OUTPUT", DNAT)];
        let mut bit = None;
        if let (Mark::Bit(n), true) = (&forward.mark, forward.masquerade != Masquerade::Off) {
            wanted.push(("POSTROUTING", MASQUERADE));
            bit = Some(1u32 << (u32::from(*n) & 31));
        }
        for (from, to) in wanted {
            let at = self.name(from);
            let Some(nft) = &mut self.nft else { return Ok(None) };
            if !nft.rules(at).map_err(|e| kernel(&e))?.iter().any(|r| leads_to(r, to)) {
                return Ok(Some(false));
            }
        }
        if let Some(bit) = bit {
            for name in [SET_MARK, MASQUERADE] {
                let at = self.name(name);
                let Some(nft) = &mut self.nft else { return Ok(None) };
                // How iptables writes a mark differs between its releases; the value does not.
                let rules = nft.rules(at).map_err(|e| kernel(&e))?;
                if !rules.iter().any(|r| r.mentions(&bit.to_ne_bytes())) {
                    return Ok(Some(false));
                }
            }
        }
        Ok(Some(true))
    }

    /// Removes the chains of `owner` and the way to them. `entries` are the lines that lead to
    /// them, as far as they are known.
    ///
    /// # Errors
    /// [`Code::Kernel`] or [`Code::Program`].
    pub fn remove(&mut self, chains: &[String], entries: &[String]) -> Result<()> {
        if self.nft.is_some() {
            return self.remove_over_nft(chains);
        }
        if !iptables::has_legacy_table(self.programs(), TABLE) {
            return Ok(());
        }
        if let ([chain], false) = (chains, entries.is_empty()) {
            let mut script = Script::new(self.programs(), TABLE);
            for entry in entries {
                script.line(format_args!("-D {DNAT} {entry}"));
            }
            script.line(format_args!("-F {chain}")).line(format_args!("-X {chain}"));
            if script.run().is_ok() {
                return Ok(());
            }
        }
        // Something is not as it was left; look.
        let there = self.chains()?;
        let gone: HashSet<&str> =
            chains.iter().map(String::as_str).filter(|c| there.contains(*c)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut script = Script::new(self.programs(), TABLE);
        for parent in [DNAT, OLD_SNAT].into_iter().filter(|p| there.contains(*p)) {
            for rule in self.rules_of(parent)? {
                if rule.target().is_some_and(|to| gone.contains(to)) {
                    script.line(format_args!("-D {parent} {}", rule.spec));
                }
            }
        }
        delete_chains(&mut script, &gone);
        script.run()
    }

    fn remove_over_nft(&mut self, chains: &[String]) -> Result<()> {
        // Another writer may remove a rule between the listing and the change: then once more.
        for _ in 0..64 {
            let mut batch = Batch::new();
            let mut gone = Vec::new();
            for name in chains {
                if self.has_chain(name)? {
                    gone.push(name.as_str());
                }
            }
            if gone.is_empty() {
                return Ok(());
            }
            for parent in [DNAT, OLD_SNAT] {
                let at = self.name(parent);
                let Some(nft) = &mut self.nft else { return Ok(()) };
                for rule in nft.rules(at).map_err(|e| kernel(&e))? {
                    if gone.iter().any(|chain| leads_to(&rule, chain)) {
                        batch.delete_rule(at, rule.handle);
                    }
                }
            }
            for name in gone {
                batch.flush_chain(self.name(name));
                batch.delete_chain(self.name(name));
            }
            let Some(nft) = &mut self.nft else { return Ok(()) };
            match nft.commit(batch) {
                Err(e) if e.is_not_found() => {}
                other => return other.map(|_| ()).map_err(|e| kernel(&e)),
            }
        }
        Err(Error::new(Code::TryAgain, "iptables: the rules changed during every attempt"))
    }

    /// Compares the rules in `chain`, and what leads to it, with what `forward` asks for.
    ///
    /// # Errors
    /// [`Code::Drift`] naming the first that is missing; [`Code::Program`], [`Code::Kernel`].
    pub fn check(&mut self, forward: &Forward, chain: &str) -> Result<()> {
        let Container { entries, rules, .. } = chain::container(forward, chain);
        let program = self.programs().program();
        if !self.has_chain(chain)? {
            return Err(drift(format!("{program}: chain {chain} is missing in table nat")));
        }
        let listed = self.rules_of(chain)?;
        for rule in rules {
            let text = rule.to_string();
            if !listed.iter().any(|r| r.spec == text) {
                return Err(drift(format!("{program}: rule {text:?} is missing in chain {chain}")));
            }
        }
        let mut shared = chain::base(forward);
        if self.has_base(forward)? == Some(true) {
            shared.appended.clear();
            shared.prepended.clear();
        }
        let mut script = Script::new(self.programs(), TABLE);
        for rule in entries.iter().chain(&shared.appended).chain(&shared.prepended) {
            script.line(format_args!("-C {} {rule}", rule.chain));
        }
        script.run().map_err(|e| {
            // The chain is there, so the program works and the line that it refused is missing.
            drift(format!("{program}: a rule is missing: {}", e.details)).context(e.msg)
        })
    }

    /// Whether `owner` still has a rule that overlaps `mapping`.
    ///
    /// # Errors
    /// [`Code::Program`], [`Code::Kernel`].
    pub fn holds(&mut self, owner: &Owner, mapping: &Mapping) -> Result<bool> {
        for name in [chain::container_chain(owner), chain::interface_chain(owner)] {
            if self.has_chain(&name)? {
                let rules = self.rules_of(&name)?;
                let mut found = rules.iter().filter_map(|r| read_rule(self.family, r));
                if found.any(|(m, _)| m.overlaps(mapping)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// All mappings in force.
    ///
    /// # Errors
    /// [`Code::Program`], [`Code::Kernel`].
    pub fn list(&mut self) -> Result<Vec<Listed>> {
        if !self.has_chain(DNAT)? {
            return Ok(Vec::new());
        }
        let all = iptables::rules_of_table(self.programs(), TABLE)?;
        let owner_of = |chain: &str| {
            let entry = all.iter().find(|r| r.chain == DNAT && r.target() == Some(chain))?;
            read_comment(entry.comment()?)
        };
        Ok(all
            .iter()
            .filter(|rule| rule.chain.starts_with("CNI-DN-"))
            .filter_map(|rule| {
                let (mapping, target) = read_rule(self.family, rule)?;
                Some(Listed { mapping, target, owner: owner_of(&rule.chain)? })
            })
            .collect())
    }

    /// Removes, in one transaction, the chains of `network` that are not in `keep`; says what
    /// they forwarded.
    ///
    /// # Errors
    /// [`Code::Program`], [`Code::Kernel`].
    pub fn collect(
        &mut self,
        network: &str,
        keep: &HashSet<String>,
    ) -> Result<Vec<(Mapping, IpAddr)>> {
        if !self.has_chain(DNAT)? {
            return Ok(Vec::new());
        }
        let start = format!("dnat name: \"{network}\" id: ");
        let all = iptables::rules_of_table(self.programs(), TABLE)?;
        let dead: HashSet<&str> = all
            .iter()
            .filter(|r| r.chain == DNAT && r.comment().is_some_and(|c| c.starts_with(&start)))
            .filter_map(SavedRule::target)
            .filter(|chain| !keep.contains(*chain))
            .collect();
        if dead.is_empty() {
            return Ok(Vec::new());
        }
        let mut script = Script::new(self.programs(), TABLE);
        for rule in &all {
            if rule.target().is_some_and(|to| dead.contains(to)) {
                script.line(format_args!("-D {} {}", rule.chain, rule.spec));
            }
        }
        delete_chains(&mut script, &dead);
        script.run()?;
        let gone = all.iter().filter(|r| dead.contains(r.chain.as_str()));
        Ok(gone.filter_map(|r| read_rule(self.family, r)).collect())
    }
}

impl Adding {
    /// Whether it worked. A no leaves everything as it was.
    pub fn finish(self) -> bool {
        self.running.is_some_and(|running| running.finish().is_ok())
    }
}

/// Whether iptables works for `family`; asks without a process where it can.
pub fn is_usable(family: Family) -> bool {
    iptables::is_usable(program_family(family), TABLE)
}

/// Whether iptables can be used for `family`.
///
/// # Errors
/// [`Code::Program`] with the reason when not.
pub fn probe(family: Family) -> Result<()> {
    iptables::probe(program_family(family), TABLE)
}

fn append(script: &mut Script, own: &Container) {
    for rule in own.rules.iter().chain(&own.entries) {
        script.line(format_args!("-A {} {rule}", rule.chain));
    }
}

fn delete_chains(script: &mut Script, chains: &HashSet<&str>) {
    // All are emptied first: one may lead to another.
    for chain in chains {
        script.line(format_args!("-F {chain}"));
    }
    for chain in chains {
        script.line(format_args!("-X {chain}"));
    }
}

/// Mapping and target of a rule with DNAT.
fn read_rule(family: Family, rule: &SavedRule) -> Option<(Mapping, IpAddr)> {
    let to = rule.value("--to-destination")?;
    let (ip, port) = to.rsplit_once(':')?;
    let any = match family {
        Family::V4 => "0.0.0.0",
        Family::V6 => "::",
    };
    let address = rule.value("-d").map_or(any, |d| d.split('/').next().unwrap_or(d));
    let mapping = Mapping {
        protocol: Protocol::parse(rule.value("-p")?)?,
        host_port: rule.value("--dport")?.parse().ok()?,
        container_port: port.parse().ok()?,
        host_ip: Some(address.parse().ok()?),
    };
    Some((mapping, ip.trim_matches(['[', ']']).parse().ok()?))
}

/// The owner in an entry's comment; its interface is not told there.
fn read_comment(comment: &str) -> Option<Owner> {
    let (network, rest) = comment.strip_prefix("dnat name: \"")?.split_once("\" id: \"")?;
    let container_id = rest.strip_suffix('"')?;
    Some(Owner {
        network: network.to_owned(),
        container_id: container_id.to_owned(),
        ifname: String::new(),
    })
}

fn drift(text: String) -> Error {
    Error::new(Code::Drift, text).with_details(
        "something else than this plugin changed the rules (a firewall reload does); recreate \
         the pod to restore them",
    )
}

#[cfg(test)]
#[path = "iptables_tests.rs"]
mod tests;
