//! Host ports in nftables: one transaction for all rules of an attachment, both families.

use super::ruleset::{self, Found, HOSTIP_HOSTPORTS, HOSTPORTS, MASQUERADING};
use super::{Family, Forward, Mapping, Masquerade, Owner};
use crate::nft::{self, Batch, Expr, Nft, Rule, RuleInfo};
use cni_types::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Chains that hold rules of containers.
const CHAINS: [&str; 3] = [HOSTPORTS, HOSTIP_HOSTPORTS, MASQUERADING];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// How often a change is planned anew because another writer came in between.
const ATTEMPTS: usize = 64;

/// Where a rule is, to be found again without listing its chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Family of the table.
    pub family: Family,
    /// Chain.
    pub chain: String,
    /// Handle.
    pub handle: u64,
}

/// What else than its tag tells which rules of a container are meant: rules of the reference
/// have none.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// The pod's addresses in the network.
    pub addresses: Vec<IpAddr>,
    /// The mappings asked for.
    pub mappings: Vec<Mapping>,
}

/// A mapping in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The mapping.
    pub mapping: Mapping,
    /// Where it leads.
    pub target: IpAddr,
    /// Whose it is, as far as its rule tells.
    pub owner: Owner,
}

/// The nftables backend in the network namespace in which it was opened.
pub struct Nftables {
    nft: Nft,
}

impl Drop for Nftables {
    fn drop(&mut self) {
        self.nft.leave_to_collector();
    }
}

fn kernel(error: &nft::Error) -> Error {
    let details = if error.is_unsupported() {
        "the kernel has no nf_tables: load the module nf_tables, or set \"backend\": \"iptables\""
    } else {
        ""
    };
    Error::new(Code::Kernel, format!("nftables: {error}")).with_details(details)
}

fn ask<T>(answer: Result<T, nft::Error>) -> Result<T> {
    answer.map_err(|e| kernel(&e))
}

struct Rules(Vec<(Family, RuleInfo)>);

impl Nftables {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Code::Kernel`] without nf_tables.
    pub fn open() -> Result<Nftables> {
        Ok(Nftables { nft: ask(Nft::open())? })
    }

    /// Whether the kernel answers for nf_tables.
    ///
    /// # Errors
    /// [`Code::Kernel`] with the reason when it does not.
    pub fn probe(&mut self) -> Result<()> {
        ask(self.nft.generation()).map(|_| ())
    }

    /// Puts the rules of `forwards` in place of those that `owner` has, in one transaction.
    ///
    /// `before` is where those are; `None` when that is not known.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] for conditions that are not understood; [`Code::Kernel`].
    pub fn add(
        &mut self,
        owner: &Owner,
        forwards: &[Forward],
        before: Option<&[Placed]>,
    ) -> Result<Vec<Placed>> {
        let mut rules = Vec::new();
        for forward in forwards {
            rules.extend(ruleset::rules(forward).map_err(|fault| {
                Error::new(Code::InvalidConfig, format!("conditions: {fault}"))
                    .with_details(super::condition::UNDERSTOOD)
            })?);
        }
        let mut before = before;
        for _ in 0..ATTEMPTS {
            for forward in forwards.iter().filter(|f| !f.own_mappings().is_empty()) {
                self.ensure_base(forward)?;
            }
            let mut batch = Batch::new();
            let old = match before {
                Some([]) => Rules(Vec::new()),
                Some(known) if self.all_there(owner, known)? => self.of_owner(owner, before)?,
                _ => self.of_owner_or_hinted(owner, &hints_of(forwards))?,
            };
            for (family, old) in old.0 {
                batch.delete_rule(ruleset::chain(family, &old.chain), old.handle);
            }
            rules.iter().for_each(|rule| batch.add_rule_echo(rule));
            match self.nft.commit(batch) {
                Ok(receipt) => return Ok(placed(&rules, &receipt.handles)),
                // Somebody removed a chain or an old rule in between.
                Err(e) if e.is_not_found() => before = None,
                Err(e) => return Err(kernel(&e)),
            }
        }
        Err(restless())
    }

    /// Removes the rules of `owner` and those of the reference that `hints` tell to be the
    /// same attachment's; says what they forwarded.
    ///
    /// # Errors
    /// [`Code::Kernel`].
    pub fn remove(
        &mut self,
        owner: &Owner,
        before: Option<&[Placed]>,
        hints: &Hints,
    ) -> Result<Vec<(Mapping, IpAddr)>> {
        let mut before = before;
        for _ in 0..ATTEMPTS {
            let found = match before {
                Some(known) if self.all_there(owner, known)? => self.of_owner(owner, before)?,
                _ => self.of_owner_or_hinted(owner, hints)?,
            };
            if self.delete(&found)? {
                return Ok(found.forwarded());
            }
            before = None;
        }
        Err(restless())
    }

    /// Removes the rules of `network` whose container and interface `keep` refuses, and those
    /// of the reference (of which the network is not known) whose container `keep_unknown`
    /// refuses; says what they forwarded.
    ///
    /// # Errors
    /// [`Code::Kernel`].
    pub fn collect(
        &mut self,
        network: &str,
        keep: &dyn Fn(&str, &str) -> bool,
        keep_unknown: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<(Mapping, IpAddr)>> {
        for _ in 0..ATTEMPTS {
            let found = self.all(&|rule| {
                let container = rule.comment.as_deref().unwrap_or_default();
                match rule.owner.as_deref() {
                    Some(tag) => {
                        let ifname = ruleset::read_tag(tag).map(|t| t.1).unwrap_or_default();
                        ruleset::is_of_network(tag, network) && !keep(container, &ifname)
                    }
                    None => !container.is_empty() && !keep_unknown(container),
                }
            })?;
            if self.delete(&found)? {
                return Ok(found.forwarded());
            }
        }
        Err(restless())
    }

    /// All mappings in force.
    ///
    /// # Errors
    /// [`Code::Kernel`].
    pub fn list(&mut self) -> Result<Vec<Listed>> {
        let all = self.all(&|_| true)?;
        Ok(all
            .0
            .iter()
            .filter_map(|(family, rule)| {
                let Found { mapping, target } = ruleset::read_rule(*family, rule)?;
                let tag = rule.owner.as_deref().and_then(ruleset::read_tag);
                let (network, ifname) = tag.unwrap_or_default();
                let container_id = rule.comment.clone().unwrap_or_default();
                Some(Listed { mapping, target, owner: Owner { network, container_id, ifname } })
            })
            .collect())
    }

    /// Whether `owner` still has a rule that overlaps `mapping`.
    ///
    /// # Errors
    /// [`Code::Kernel`].
    pub fn holds(&mut self, owner: &Owner, mapping: &Mapping) -> Result<bool> {
        let (comment, tag) = (ruleset::comment(&owner.container_id), ruleset::tag(owner));
        let held = self.all(&|rule| {
            // An owner adopted from a rule without tag has no network and no interface.
            let of_tag = owner.ifname.is_empty() || rule.owner.as_ref().is_none_or(|t| *t == tag);
            rule.comment.as_deref() == Some(comment) && of_tag
        })?;
        Ok(held.0.iter().any(|(family, rule)| {
            ruleset::read_rule(*family, rule).is_some_and(|f| f.mapping.overlaps(mapping))
        }))
    }

    /// Compares the rules of an attachment with those that `forwards` ask for.
    ///
    /// # Errors
    /// [`Code::Drift`] naming the first that is missing; [`Code::Kernel`].
    pub fn check(
        &mut self,
        owner: &Owner,
        forwards: &[Forward],
        before: Option<&[Placed]>,
    ) -> Result<()> {
        let found = match before {
            Some(known) if self.all_there(owner, known)? => self.of_owner(owner, before)?,
            _ => self.of_owner_or_hinted(owner, &hints_of(forwards))?,
        };
        for forward in forwards.iter().filter(|f| !f.own_mappings().is_empty()) {
            let of_reference = found.0.iter().all(|(_, rule)| rule.owner.is_none());
            self.check_base(forward, of_reference)?;
            let mut wished = forward.clone();
            if of_reference {
                // There the conditions are not at the rule but before the jump to it.
                wished.conditions.clear();
            }
            check_rules(&wished, &found)?;
        }
        Ok(())
    }

    fn check_base(&mut self, forward: &Forward, of_reference: bool) -> Result<()> {
        let family = forward.family();
        for (name, _) in ruleset::ENTRANCES {
            let chain = ruleset::chain(family, name);
            let conditions = ruleset::entrance_conditions(&ask(self.nft.rules(chain))?);
            let is_open = conditions.iter().any(Vec::is_empty);
            let may_be_narrow = of_reference && !conditions.is_empty();
            if !is_open && !may_be_narrow {
                return Err(drift(format!(
                    "chain {chain}: does not lead every packet for the node to the port mappings"
                )));
            }
        }
        let all = ruleset::all_chain(family);
        if !ruleset::leads_on(&ask(self.nft.rules(all))?) {
            return Err(drift(format!("chain {all}: does not lead to chain {HOSTPORTS}")));
        }
        Ok(())
    }

    /// Makes sure that packets find the way to the containers' rules.
    fn ensure_base(&mut self, forward: &Forward) -> Result<()> {
        for _ in 0..ATTEMPTS {
            if self.is_open(forward)? {
                return Ok(());
            }
            let generation = ask(self.nft.generation())?;
            let mut batch = Batch::at_generation(generation);
            let family = forward.family();
            ruleset::add_structure(&mut batch, family, forward.masquerade != Masquerade::Off);
            if !self.move_conditions(&mut batch, family)? {
                return match self.nft.commit(batch) {
                    Err(e) if e.is_stale() => continue,
                    other => ask(other).map(|_| ()),
                };
            }
            ruleset::rewrite_jumps(&mut batch, family);
            match self.nft.commit(batch) {
                Err(e) if e.is_stale() || e.is_not_found() => {}
                other => return ask(other).map(|_| ()),
            }
        }
        Err(restless())
    }

    fn is_open(&mut self, forward: &Forward) -> Result<bool> {
        let family = forward.family();
        for (name, _) in ruleset::ENTRANCES {
            let rules = ask(self.nft.rules(ruleset::chain(family, name)))?;
            if !ruleset::entrance_conditions(&rules).iter().any(Vec::is_empty) {
                return Ok(false);
            }
        }
        if forward.masquerade != Masquerade::Off {
            let chain = ruleset::chain(family, MASQUERADING);
            if ask(self.nft.chain(chain))?.is_none() {
                return Ok(false);
            }
        }
        Ok(ruleset::leads_on(&ask(self.nft.rules(ruleset::all_chain(family)))?))
    }

    /// Gives each rule of the reference the conditions that stand before the jump to all rules,
    /// so that the jump can be free of them without opening a port any wider.
    ///
    /// Says no when such conditions cannot be copied: then the jump must stay as it is.
    fn move_conditions(&mut self, batch: &mut Batch, family: Family) -> Result<bool> {
        let entrance = ruleset::chain(family, ruleset::ENTRANCES[0].0);
        let entrances = ruleset::entrance_conditions(&ask(self.nft.rules(entrance))?);
        let [conditions] = entrances.as_slice() else { return Ok(true) };
        if conditions.is_empty() {
            return Ok(true);
        }
        let can_copy = |exprs: &[Expr]| {
            !exprs.iter().any(|e| matches!(e, Expr::Other(_) | Expr::Lookup { .. }))
        };
        for name in [HOSTPORTS, HOSTIP_HOSTPORTS] {
            let chain = ruleset::chain(family, name);
            for old in ask(self.nft.rules(chain))? {
                let exprs = old.exprs();
                if old.owner.is_some() || exprs.starts_with(conditions) {
                    continue;
                }
                if !can_copy(conditions) || !can_copy(&exprs) {
                    return Ok(false);
                }
                let mut new = Rule::new(chain);
                new.exprs = [conditions.as_slice(), &exprs].concat();
                new.comment = old.comment;
                batch.add_rule(&new);
                batch.delete_rule(chain, old.handle);
            }
        }
        Ok(true)
    }

    fn all_there(&mut self, owner: &Owner, known: &[Placed]) -> Result<bool> {
        Ok(!known.is_empty() && self.of_owner(owner, Some(known))?.0.len() == known.len())
    }

    /// The rules tagged with `owner`: at the places known, or everywhere.
    fn of_owner(&mut self, owner: &Owner, before: Option<&[Placed]>) -> Result<Rules> {
        let (comment, tag) = (ruleset::comment(&owner.container_id), ruleset::tag(owner));
        let is_own = |rule: &RuleInfo| {
            rule.comment.as_deref() == Some(comment) && rule.owner.as_ref() == Some(&tag)
        };
        let Some(known) = before else { return self.all(&is_own) };
        let mut found = Vec::new();
        for place in known {
            let chain = ruleset::chain(place.family, &place.chain);
            let rule = ask(self.nft.rule(chain, place.handle))?;
            found.extend(rule.filter(is_own).map(|rule| (place.family, rule)));
        }
        Ok(Rules(found))
    }

    fn of_owner_or_hinted(&mut self, owner: &Owner, hints: &Hints) -> Result<Rules> {
        let (comment, tag) = (ruleset::comment(&owner.container_id), ruleset::tag(owner));
        let mut found = self.all(&|rule| {
            rule.comment.as_deref() == Some(comment)
                && rule.owner.as_ref().is_none_or(|t| *t == tag)
        })?;
        // Without a tag, a rule is known by where it leads, or else by its port.
        let mut targets = hints.addresses.clone();
        found.0.retain(|(family, rule)| {
            if rule.owner.is_some() || rule.chain == MASQUERADING {
                return true;
            }
            let Some(read) = ruleset::read_rule(*family, rule) else { return false };
            let is_meant = if hints.addresses.is_empty() {
                hints.mappings.iter().any(|m| m.overlaps(&read.mapping))
            } else {
                hints.addresses.contains(&read.target)
            };
            if is_meant {
                targets.push(read.target);
            }
            is_meant
        });
        found.0.retain(|(_, rule)| {
            rule.owner.is_some()
                || rule.chain != MASQUERADING
                || ruleset::destination(&rule.exprs()).is_some_and(|ip| targets.contains(&ip))
        });
        Ok(found)
    }

    fn all(&mut self, wanted: &dyn Fn(&RuleInfo) -> bool) -> Result<Rules> {
        let mut found = Vec::new();
        for family in FAMILIES {
            for name in CHAINS {
                let rules = ask(self.nft.rules(ruleset::chain(family, name)))?;
                found.extend(rules.into_iter().filter(|r| wanted(r)).map(|r| (family, r)));
            }
        }
        Ok(Rules(found))
    }

    /// Deletes in one transaction; says no when one of the rules was gone.
    fn delete(&mut self, rules: &Rules) -> Result<bool> {
        let mut batch = Batch::new();
        for (family, rule) in &rules.0 {
            batch.delete_rule(ruleset::chain(*family, &rule.chain), rule.handle);
        }
        match self.nft.commit(batch) {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(kernel(&e)),
        }
    }
}

impl Rules {
    fn forwarded(&self) -> Vec<(Mapping, IpAddr)> {
        let read = self.0.iter().filter_map(|(family, rule)| ruleset::read_rule(*family, rule));
        read.map(|f| (f.mapping, f.target)).collect()
    }
}

fn hints_of(forwards: &[Forward]) -> Hints {
    Hints { addresses: forwards.iter().map(|f| f.pod.ip()).collect(), mappings: Vec::new() }
}

fn check_rules(wished: &Forward, found: &Rules) -> Result<()> {
    let rules = ruleset::rules(wished)
        .map_err(|fault| Error::new(Code::InvalidConfig, format!("conditions: {fault}")))?;
    let mut left: Vec<(&str, Vec<Expr>)> = found
        .0
        .iter()
        .filter(|(family, _)| *family == wished.family())
        .map(|(_, rule)| (rule.chain.as_str(), rule.exprs()))
        .collect();
    for rule in rules {
        let place = left.iter().position(|(chain, exprs)| {
            let is_chain = *chain == rule.chain.name
                || (rule.chain.name == HOSTPORTS && *chain == HOSTIP_HOSTPORTS);
            is_chain && *exprs == rule.exprs
        });
        match place {
            Some(place) => drop(left.swap_remove(place)),
            None => {
                let what = describe(wished, &rule);
                return Err(drift(format!("{what}: has no rule in chain {}", rule.chain)));
            }
        }
    }
    Ok(())
}

fn describe(wished: &Forward, rule: &Rule<'_>) -> String {
    let port = rule.exprs.windows(2).find_map(|pair| match pair {
        [Expr::Payload { offset: 2, len: 2, .. }, Expr::Cmp { data, .. }] => {
            data.as_slice().try_into().ok().map(u16::from_be_bytes)
        }
        _ => None,
    });
    let mapping = wished.own_mappings().into_iter().find(|m| Some(m.host_port) == port);
    match mapping {
        Some(mapping) if rule.chain.name == HOSTPORTS => format!("host port {mapping}"),
        _ => format!("masquerading for {}", wished.pod.ip()),
    }
}

fn placed(rules: &[Rule<'_>], handles: &[u64]) -> Vec<Placed> {
    let family = |rule: &Rule<'_>| match rule.chain.family {
        nft::Family::Ip6 => Family::V6,
        _ => Family::V4,
    };
    rules
        .iter()
        .zip(handles)
        .map(|(rule, handle)| Placed {
            family: family(rule),
            chain: rule.chain.name.to_owned(),
            handle: *handle,
        })
        .collect()
}

fn drift(text: String) -> Error {
    Error::new(Code::Drift, text).with_details(
        "something else than this plugin changed the rules; recreate the pod to restore them",
    )
}

fn restless() -> Error {
    Error::new(Code::TryAgain, "nftables: the rules changed during every attempt to change them")
}
