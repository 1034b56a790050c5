//! Source MAC filter of bridge ports (`macspoofchk`), over nf_tables in the bridge family.
//!
//! Layout and names are those of the reference: a jump per port in `bridge nat PREROUTING` to
//! `cni-br-iface-<container>-<ifname>`, which jumps to the same name with `-mac`, which returns
//! for the pod's address and drops the rest. Ours is one transaction, of which no half can stay.

use crate::nft::{
    BaseChain, Batch, COMMENT_MAX, Chain, ChainRef, ChainType, Expr, Family, Hook, Meta, Nft, Rule,
    RuleInfo, Table, Verdict,
};
use crate::record::{Owner, Records, Stored, remove};
use cni_types::{Attachment, Code, Error, Result};

const RECORDS: &str = "macspoof";
const TABLE: &str = "nat";
const PREROUTING: ChainRef<'static> = ChainRef::new(Family::Bridge, TABLE, "PREROUTING");
const CHAIN_PREFIX: &str = "cni-br-iface-";
/// Where the reference and ebtables put the chain: before everything else.
const PRIORITY: i32 = -300;

/// The wish: frames from `port` carry `mac` as their source, or are dropped.
#[derive(Clone, Copy, Debug)]
pub struct MacSpoof<'a> {
    /// Whose port.
    pub owner: Owner<'a>,
    /// The pod's interface on the node, a port of the bridge.
    pub port: &'a str,
    /// The pod's hardware address.
    pub mac: [u8; 6],
}

/// Rules that were deleted and that the kernel is about to free. Dropping it waits for that, so
/// keep it until the links are deleted: the kernel then waits for both at once.
#[must_use = "keep it until the links are deleted"]
pub struct Settling(#[allow(dead_code, reason = "held for its drop")] Option<Nft>);

struct Names {
    port_chain: String,
    mac_chain: String,
    comment: String,
}

impl Names {
    fn of(owner: &Owner<'_>) -> Names {
        let id = format!("{}-{}", owner.container_id, owner.ifname);
        let port_chain = format!("{CHAIN_PREFIX}{id}");
        let mut comment = format!("macspoofchk-{id}");
        // Names are ASCII, so this cuts at a character.
        comment.truncate(COMMENT_MAX);
        Names { mac_chain: format!("{port_chain}-mac"), port_chain, comment }
    }

    fn port_chain(&self) -> ChainRef<'_> {
        ChainRef::new(Family::Bridge, TABLE, &self.port_chain)
    }

    fn mac_chain(&self) -> ChainRef<'_> {
        ChainRef::new(Family::Bridge, TABLE, &self.mac_chain)
    }

    fn jump(&self, port: &str) -> Rule<'static> {
        Rule::new(PREROUTING).iifname(port).jump(&self.port_chain).comment(&*self.comment)
    }

    /// The rules of the two chains.
    fn inner(&self, mac: [u8; 6]) -> [Rule<'_>; 3] {
        let comment = || self.comment.clone();
        let (port, filter) = (Rule::new(self.port_chain()), || Rule::new(self.mac_chain()));
        [
            port.jump(&self.mac_chain).comment(comment()),
            filter().ether_saddr(mac).verdict(Verdict::Return).comment(comment()),
            filter().verdict(Verdict::Drop).comment(comment()),
        ]
    }

    fn is_jump(&self, rule: &RuleInfo) -> bool {
        rule.exprs().contains(&Expr::Verdict(Verdict::Jump(self.port_chain.clone())))
    }
}

/// Makes the rules. What an earlier call for the same owner made is replaced.
///
/// # Errors
/// Those of the kernel; then no rule is left.
pub fn setup(wish: &MacSpoof<'_>) -> Result<()> {
    let records = Records::of(RECORDS);
    let names = Names::of(&wish.owner);
    let mut nft = Nft::open()?;
    if nft.chain(names.port_chain())?.is_some() || records.read(&wish.owner)?.is_some() {
        drop(teardown(&wish.owner)?);
    }
    let Some(mut claim) = records.claim(&wish.owner, "")? else {
        let text = "macspoofchk: another process is at this attachment";
        return Err(Error::new(Code::TryAgain, text));
    };
    match nft.commit(batch(wish, &names)) {
        Ok(receipt) => {
            let lines: String = receipt.handles.iter().map(|h| format!("{h}\n")).collect();
            claim.append(&lines)
        }
        Err(cause) => {
            records.remove(&wish.owner)?;
            Err(cause.into())
        }
    }
}

fn batch(wish: &MacSpoof<'_>, names: &Names) -> Batch {
    let mut batch = Batch::new();
    batch.add_table(&Table { family: Family::Bridge, name: TABLE, comment: None });
    let base = BaseChain { kind: ChainType::Filter, hook: Hook::Prerouting, priority: PRIORITY };
    batch.add_chain(&Chain::base(PREROUTING, base));
    for chain in [names.port_chain(), names.mac_chain()] {
        batch.add_chain(&Chain::regular(chain));
        batch.flush_chain(chain);
    }
    for rule in names.inner(wish.mac) {
        batch.add_rule(&rule);
    }
    batch.add_rule_echo(&names.jump(wish.port));
    batch
}

/// Removes the rules of `owner`, whoever made them. Nothing there is fine, and costs no listing.
///
/// # Errors
/// Those of the kernel; the record is kept then, so that the next call tries again.
pub fn teardown(owner: &Owner<'_>) -> Result<Settling> {
    let mut nft = match Nft::open() {
        Err(e) if e.is_unsupported() => return Ok(Settling(None)),
        other => other?,
    };
    let records = Records::of(RECORDS);
    let record = records.read(owner)?;
    delete(&mut nft, &Names::of(owner), record.as_ref())?;
    if record.is_some() {
        records.remove(owner)?;
    }
    Ok(Settling(Some(nft)))
}

fn delete(nft: &mut Nft, names: &Names, record: Option<&Stored>) -> Result<()> {
    let handle = record.and_then(|r| r.body.first()).and_then(|line| line.parse().ok());
    let mut jumps = Vec::new();
    if let Some(handle) = handle {
        jumps.extend(nft.rule(PREROUTING, handle)?.filter(|rule| names.is_jump(rule)));
    }
    let mut chains = Vec::new();
    for chain in [names.port_chain(), names.mac_chain()] {
        if nft.chain(chain)?.is_some() {
            chains.push(chain);
        }
    }
    if chains.is_empty() {
        return Ok(());
    }
    if jumps.is_empty() {
        jumps = nft.rules(PREROUTING)?;
        jumps.retain(|rule| names.is_jump(rule));
    }
    let mut batch = Batch::new();
    jumps.iter().for_each(|jump| batch.delete_rule(PREROUTING, jump.handle));
    // Emptied first: the rule of one refers to the other.
    chains.iter().for_each(|chain| batch.flush_chain(*chain));
    chains.iter().for_each(|chain| batch.delete_chain(*chain));
    nft.commit(batch)?;
    Ok(())
}

/// Whether the rules of `wish` are all there.
///
/// # Errors
/// [`Code::Drift`] naming the chain that differs; those of the kernel.
pub fn check(wish: &MacSpoof<'_>) -> Result<()> {
    let mut nft = Nft::open()?;
    let names = Names::of(&wish.owner);
    let has = |rules: &[RuleInfo], want: &Rule<'_>| rules.iter().any(|r| r.exprs() == want.exprs);
    for chain in [names.port_chain(), names.mac_chain()] {
        let rules = nft.rules(chain)?;
        let inner = names.inner(wish.mac);
        let mut wanted = inner.iter().filter(|rule| rule.chain == chain);
        if !wanted.all(|want| has(&rules, want)) {
            return Err(drift(chain));
        }
    }
    let handle = Records::of(RECORDS).read(&wish.owner)?;
    let handle = handle.and_then(|r| r.body.first().and_then(|line| line.parse().ok()));
    let mut rules = Vec::new();
    if let Some(handle) = handle {
        rules.extend(nft.rule(PREROUTING, handle)?);
    }
    let want = names.jump(wish.port);
    if !has(&rules, &want) && !has(&nft.rules(PREROUTING)?, &want) {
        return Err(drift(PREROUTING));
    }
    Ok(())
}

fn drift(chain: ChainRef<'_>) -> Error {
    Error::new(Code::Drift, format!("macspoofchk: rules are missing in {chain}"))
        .with_details("the rules were changed after ADD; delete and add the pod to restore them")
}

/// Removes the rules of `network` that belong to none of the `valid` attachments, and those of
/// ports that are gone: the reference's rules do not say which network they are of.
///
/// # Errors
/// All that went wrong, after everything was tried.
pub fn gc(network: &str, valid: &[Attachment]) -> Result<()> {
    let all = Records::of(RECORDS).all()?;
    let is_stale = |owner: &Owner<'_>| {
        let same =
            |a: &Attachment| a.container_id == owner.container_id && a.ifname == owner.ifname;
        owner.network == network && !valid.iter().any(same)
    };
    let stale = all.stored.iter().map(Stored::owner).filter(is_stale);
    let mut errors: Vec<Error> = stale.filter_map(|owner| teardown(&owner).err()).collect();
    errors.extend(all.blank.iter().filter_map(|path| remove(path).err()));
    errors.extend(gc_portless().err());
    Error::join(errors).map_or(Ok(()), Err)
}

fn gc_portless() -> Result<()> {
    let mut nft = match Nft::open() {
        Err(e) if e.is_unsupported() => return Ok(()),
        other => other?,
    };
    let mut errors = Vec::new();
    for rule in nft.rules(PREROUTING)? {
        let exprs = rule.exprs();
        let Some(chain) = exprs.iter().find_map(port_chain_of) else { continue };
        let Some(port) = exprs.windows(2).find_map(port_of) else { continue };
        if nix::net::if_::if_nametoindex(port.as_str()) == Err(nix::Error::ENODEV) {
            let names = Names {
                port_chain: chain.to_owned(),
                mac_chain: format!("{chain}-mac"),
                comment: String::new(),
            };
            errors.extend(delete(&mut nft, &names, None).err());
        }
    }
    Error::join(errors).map_or(Ok(()), Err)
}

fn port_chain_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Verdict(Verdict::Jump(chain)) if chain.starts_with(CHAIN_PREFIX) => Some(chain),
        _ => None,
    }
}

/// The interface that a pair of expressions compares the input with.
fn port_of(pair: &[Expr]) -> Option<String> {
    match pair {
        [Expr::Meta { key: Meta::IifName, .. }, Expr::Cmp { data, .. }] => {
            let name = data.split(|byte| *byte == 0).next().unwrap_or_default();
            Some(String::from_utf8_lossy(name).into_owned())
        }
        _ => None,
    }
}

/// Whether [`setup`] can work on this kernel.
///
/// # Errors
/// [`Code::NotAvailable`] with the reason.
pub fn probe() -> Result<()> {
    let works = || -> Result<()> {
        Nft::open()?.generation()?;
        Ok(())
    };
    works().map_err(|e| Error { code: Code::NotAvailable, ..e }.context("macspoofchk"))
}
