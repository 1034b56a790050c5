//! Masquerade over nf_tables: one rule per address in one chain for all pods.

use super::{Masquerade, Owner};
use crate::names::sha512_prefix;
use crate::nft::{
    BaseChain, Batch, COMMENT_MAX, Chain, ChainRef, ChainType, Family, Hook, Nft, PRIORITY_SRCNAT,
    Rule, RuleInfo, Table, Verdict,
};
use crate::record::Claim;
use cni_types::{Attachment, Code, Error, Result};
use ipnetwork::IpNetwork;
use std::collections::HashSet;
use std::fmt::Write as _;

const TABLE: &str = "cni_plugins_masquerade";
const CHECKS: ChainRef<'static> = ChainRef::new(Family::Inet, TABLE, "masq_checks");
const POSTROUTING: ChainRef<'static> = ChainRef::new(Family::Inet, TABLE, "postrouting");
/// How often rules found by listing are deleted again because another process was faster.
const ATTEMPTS: usize = 8;

fn network_hash(network: &str) -> String {
    sha512_prefix(16, network)
}

/// What the comments of an attachment's rules begin with; of fixed length.
fn instance_hash(owner: &Owner<'_>) -> String {
    let instance = format!("{}:{}", owner.ifname, owner.container_id);
    format!("{}-{}", network_hash(owner.network), sha512_prefix(16, &instance))
}

fn comment(owner: &Owner<'_>) -> String {
    let Owner { network, container_id, ifname } = owner;
    let hash = instance_hash(owner);
    let mut text = format!("{hash}, net: {network}, if: {ifname}, id: {container_id}");
    // Names are ASCII, so this cuts at a character.
    text.truncate(COMMENT_MAX);
    text
}

/// Packets that no pod's rule may touch, then the pods' rules.
fn postrouting_rules() -> Result<[Rule<'static>; 3]> {
    let net = |text: &str| {
        text.parse::<IpNetwork>().map_err(|e| Error::new(Code::Kernel, format!("{text}: {e}")))
    };
    let leave = |net: IpNetwork| Rule::new(POSTROUTING).daddr(net).verdict(Verdict::Return);
    Ok([
        leave(net("224.0.0.0/4")?),
        leave(net("ff00::/8")?),
        Rule::new(POSTROUTING).goto(CHECKS.name),
    ])
}

fn address_rule(owner: &Owner<'_>, address: IpNetwork) -> Rule<'static> {
    Rule::new(CHECKS)
        .saddr(IpNetwork::from(address.ip()))
        .not_daddr(address)
        .masquerade()
        .comment(comment(owner))
}

/// The rules alone where the layout around them is whole; else the layout too, which heals what
/// was tampered with. Nothing is deleted in the ordinary case: see [`Nft`] on what that would cost.
fn batch(nft: &mut Nft, wish: &Masquerade<'_>) -> Result<Batch> {
    let mut batch = Batch::new();
    if !is_whole(nft)? {
        add_layout(&mut batch)?;
    }
    for address in wish.addresses {
        batch.add_rule_echo(&address_rule(&wish.owner, *address));
    }
    Ok(batch)
}

fn add_layout(batch: &mut Batch) -> Result<()> {
    let text = "Masquerading for plugins from github.com/containernetworking/plugins";
    batch.add_table(&Table { family: Family::Inet, name: TABLE, comment: Some(text) });
    let text = "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet";
    batch.add_chain(&Chain { comment: Some(text), ..Chain::regular(CHECKS) });
    let base =
        BaseChain { kind: ChainType::Nat, hook: Hook::Postrouting, priority: PRIORITY_SRCNAT };
    batch.add_chain(&Chain::base(POSTROUTING, base));
    batch.flush_chain(POSTROUTING);
    for rule in postrouting_rules()? {
        batch.add_rule(&rule);
    }
    Ok(())
}

/// Whether the base chain is there and calls the pods' rules. Its `goto` proves that their chain
/// is there too.
fn is_whole(nft: &mut Nft) -> Result<bool> {
    let listed = nft.rules(POSTROUTING)?;
    let wanted = postrouting_rules()?;
    let same = |(rule, want): (&RuleInfo, &Rule<'_>)| rule.exprs() == want.exprs;
    let whole = listed.len() == wanted.len() && listed.iter().zip(&wanted).all(same);
    Ok(whole && nft.chain(POSTROUTING)?.is_some_and(|chain| chain.is_base))
}

pub(super) fn setup(wish: &Masquerade<'_>, mut claim: Claim) -> Result<()> {
    let mut nft = Nft::open()?;
    let batch = batch(&mut nft, wish)?;
    let receipt = match nft.commit(batch) {
        // Somebody flushed the ruleset in between.
        Err(e) if e.is_not_found() => {
            let batch = self::batch(&mut nft, wish)?;
            nft.commit(batch)?
        }
        other => other?,
    };
    let mut lines = String::new();
    for (address, handle) in wish.addresses.iter().zip(receipt.handles) {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{address} {handle}");
    }
    claim.append(&lines)
}

fn is_of(rule: &RuleInfo, prefix: &str) -> bool {
    rule.comment.as_deref().is_some_and(|comment| comment.starts_with(prefix))
}

/// Deletes the rules with these handles, without listing any other. False if they are not what
/// the record says; then nothing was deleted.
pub(super) fn delete_recorded(nft: &mut Nft, owner: &Owner<'_>, handles: &[u64]) -> Result<bool> {
    let hash = instance_hash(owner);
    let mut batch = Batch::new();
    for handle in handles {
        match nft.rule(CHECKS, *handle)? {
            Some(rule) if is_of(&rule, &hash) => batch.delete_rule(CHECKS, *handle),
            _ => return Ok(false),
        }
    }
    match nft.commit(batch) {
        Err(e) if e.is_not_found() => Ok(false),
        other => other.map(|_| true).map_err(Error::from),
    }
}

/// Deletes the rules of `owner` wherever they are in the chain.
pub(super) fn delete_found(nft: &mut Nft, owner: &Owner<'_>) -> Result<()> {
    let hash = instance_hash(owner);
    delete_where(nft, |rule| is_of(rule, &hash))
}

pub(super) fn gc(nft: &mut Nft, network: &str, valid: &[Attachment]) -> Result<()> {
    let ours = network_hash(network) + "-";
    let keep: HashSet<String> = valid
        .iter()
        .map(|a| {
            instance_hash(&Owner { network, container_id: &a.container_id, ifname: &a.ifname })
        })
        .collect();
    let kept = |comment: &str| comment.split_once(',').is_some_and(|(hash, _)| keep.contains(hash));
    delete_where(nft, |rule| is_of(rule, &ours) && !rule.comment.as_deref().is_some_and(kept))
}

fn delete_where(nft: &mut Nft, unwanted: impl Fn(&RuleInfo) -> bool) -> Result<()> {
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        let rules = match nft.rules(CHECKS) {
            // The kernel has netfilter but not nf_tables.
            Err(e) if e.is_unsupported() || e.errno == libc::EINVAL => return Ok(()),
            other => other?,
        };
        let mut batch = Batch::new();
        for rule in rules.iter().filter(|rule| unwanted(rule)) {
            batch.delete_rule(CHECKS, rule.handle);
        }
        outcome = nft.commit(batch).map(|_| ());
        match &outcome {
            // Deleted by another process since it was listed.
            Err(e) if e.is_not_found() => {}
            _ => break,
        }
    }
    Ok(outcome?)
}

/// Compares the rules of `wish` with the kernel's; `handles` spares listing the chain.
pub(super) fn check(wish: &Masquerade<'_>, handles: &[u64]) -> Result<()> {
    let mut nft = Nft::open()?;
    let mut rules = Vec::new();
    for handle in handles {
        rules.extend(nft.rule(CHECKS, *handle)?);
    }
    if handles.is_empty() {
        rules = nft.rules(CHECKS)?;
    }
    let hash = instance_hash(&wish.owner);
    for address in wish.addresses {
        let want = address_rule(&wish.owner, *address).exprs;
        if !rules.iter().any(|rule| is_of(rule, &hash) && rule.exprs() == want) {
            return Err(drift(&format!("the rule for {address} is not in {CHECKS}")));
        }
    }
    if !is_whole(&mut nft)? {
        return Err(drift(&format!("{POSTROUTING} does not lead to {}", CHECKS.name)));
    }
    Ok(())
}

fn drift(cause: &str) -> Error {
    Error::new(Code::Drift, format!("masquerade: {cause}"))
        .with_details("the rules were changed after ADD; delete and add the pod to restore them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_begin_with_both_hashes_and_fit() {
        let owner = Owner { network: "net", container_id: "cid", ifname: "eth0" };
        let text = comment(&owner);
        // Digits from `printf %s net | sha512sum` and `printf %s eth0:cid | sha512sum`.
        assert_eq!(text, "a4861f4ae9f7d238-f67e6d6b66294011, net: net, if: eth0, id: cid");
        let long = "x".repeat(200);
        let owner = Owner { network: &long, container_id: &long, ifname: "eth0" };
        assert_eq!(comment(&owner).len(), COMMENT_MAX);
        assert!(comment(&owner).starts_with(&instance_hash(&owner)));
    }
}
