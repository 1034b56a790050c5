//! Frames that a bridge passes between its ports without routing: dropped from and to isolated
//! ports. The rules of iptables see such packets only where the kernel is told to show them
//! (`bridge-nf-call-iptables`).

use super::nftables::{TABLE, delete_elements, delete_from, is_absent, is_stale, label, tag};
use super::{Owner, drift, open_nft, session};
use crate::nft::{
    BaseChain, Batch, Chain, ChainRef, ChainType, DataType, Element, Family, Hook, Meta, Nft, Rule,
    RuleInfo, Set, SetRef, Table, Verdict, link_name,
};
use cni_types::{Attachment, Result};

const FORWARD: ChainRef<'static> = ChainRef::new(Family::Bridge, TABLE, "forward");
const PORTS: SetRef<'static> = SetRef { family: Family::Bridge, table: TABLE, name: "isolated" };
/// Where `nft` puts `filter` in this family.
const PRIORITY: i32 = -200;

fn rules() -> [Rule<'static>; 2] {
    let drop = |key| Rule::new(FORWARD).link_in(key, PORTS.name).verdict(Verdict::Drop);
    [drop(Meta::IifName), drop(Meta::OifName)]
}

fn is_whole(nft: &mut Nft) -> Result<bool> {
    let listed: Vec<_> = nft.rules(FORWARD)?.iter().map(RuleInfo::exprs).collect();
    Ok(rules().iter().all(|rule| listed.contains(&rule.exprs)))
}

/// Isolates `port`.
pub(super) fn open(owner: &Owner<'_>, port: &str) -> Result<()> {
    let mut nft = session()?;
    let mut batch = Batch::new();
    if !is_whole(&mut nft)? {
        batch.add_table(&Table { family: Family::Bridge, name: TABLE, comment: None });
        batch.add_set(&Set { at: PORTS, key: DataType::LINK_NAME, data: None });
        let base = BaseChain { kind: ChainType::Filter, hook: Hook::Forward, priority: PRIORITY };
        batch.add_chain(&Chain::base(FORWARD, base));
        batch.flush_chain(FORWARD);
        rules().iter().for_each(|rule| batch.add_rule(rule));
    }
    let wanted = Element {
        comment: Some(label(owner)),
        owner: Some(tag(owner)),
        ..Element::key(link_name(port))
    };
    if let Some(found) = nft.element(PORTS, &wanted.key)?
        && found.owner != wanted.owner
    {
        // The name of a link that is gone was given again.
        batch.delete_elements(PORTS, &[Element::key(found.key)]);
    }
    batch.add_elements(PORTS, &[wanted]);
    nft.commit(batch)?;
    Ok(())
}

/// Ends the isolation of what is `owner`'s: of `port` if it is known, else of whatever there is.
pub(super) fn close(owner: &Owner<'_>, port: Option<&str>) -> Result<()> {
    let Some(mut nft) = open_nft()? else { return Ok(()) };
    let own = tag(owner);
    let is_own = |found: Option<&[u8]>| found == Some(&own);
    match port {
        None => delete_from(&mut nft, PORTS, is_own)?,
        Some(port) => {
            let found = match nft.element(PORTS, &link_name(port)) {
                Err(e) if is_absent(&e) => None,
                other => other?,
            };
            if found.is_some_and(|found| is_own(found.owner.as_deref())) {
                delete_elements(&mut nft, PORTS, vec![link_name(port)])?;
            }
        }
    }
    Ok(())
}

/// Ends the isolation of attachments of `network` that are not valid.
pub(super) fn collect(network: &str, valid: &[Attachment]) -> Result<()> {
    let Some(mut nft) = open_nft()? else { return Ok(()) };
    delete_from(&mut nft, PORTS, |found| is_stale(found, network, valid))?;
    Ok(())
}

pub(super) fn check(owner: &Owner<'_>, port: &str) -> Result<()> {
    let mut nft = session()?;
    let found = nft.element(PORTS, &link_name(port))?;
    if found.and_then(|found| found.owner) != Some(tag(owner)) {
        return Err(drift(format!("{port} is not in the set {PORTS}")));
    }
    if !is_whole(&mut nft)? {
        return Err(drift(format!("rules are missing in {FORWARD}")));
    }
    Ok(())
}
