//! The rules of an attachment in either backend.

use crate::plan::{Leaving, Plan};
use cni_types::{Code, Result};
use netfilter::hostport::registry::{Claim, Held, Record, Registry};
use netfilter::hostport::{
    Backend, Family, Forward, Hints, Iptables, Listed, Mapping, Nftables, Owner, Placed, chain,
    iptables,
};
use std::net::IpAddr;

/// Mappings that were removed, and the pods they led to.
pub(crate) type Removed = Vec<(Mapping, IpAddr)>;

/// iptables where it works, else nftables where that does.
pub(crate) fn default_backend() -> Backend {
    if !iptables::is_usable(Family::V4) && Nftables::open().and_then(|mut n| n.probe()).is_ok() {
        Backend::Nftables
    } else {
        Backend::Iptables
    }
}

/// What an attachment had before, and where its rules go now.
pub(crate) struct Place<'a> {
    pub(crate) backend: Backend,
    /// Its chain in iptables.
    pub(crate) chain: &'a str,
    pub(crate) earlier: Option<&'a Held>,
    /// Whether rules of it may be there of which nothing is known.
    pub(crate) may_be_there: bool,
}

/// The chain for `owner`: that of the reference, unless another interface of the container in
/// the same network has it.
pub(crate) fn chain_for(owner: &Owner, record: Option<&Record>) -> String {
    let first = chain::container_chain(owner);
    let is_taken =
        record.is_some_and(|r| r.held.iter().any(|h| h.ifname != owner.ifname && h.chain == first));
    if is_taken { chain::interface_chain(owner) } else { first }
}

/// Puts the rules of `plan` in place of those that the attachment had.
///
/// # Errors
/// [`Code::Kernel`], [`Code::Program`]; rules of one family may be there then.
pub(crate) fn add(
    plan: &Plan,
    place: &Place<'_>,
    registry: &Registry,
) -> Result<Option<Vec<Placed>>> {
    let other = place.earlier.filter(|held| held.backend != place.backend);
    if let Some(held) = other {
        remove_held(&plan.owner, held, &Hints::default())?;
    }
    match place.backend {
        Backend::Nftables => {
            let before = match place.earlier {
                Some(held) if held.backend == Backend::Nftables => held.placed.as_deref(),
                _ if place.may_be_there => None,
                _ => Some(&[][..]),
            };
            Nftables::open()?.add(&plan.owner, &plan.forwards, before).map(Some)
        }
        Backend::Iptables => {
            if let Some(held) = place.earlier.filter(|h| h.backend == Backend::Iptables) {
                remove_held(&plan.owner, held, &Hints::default())?;
            }
            add_to_iptables(&plan.forwards, place.chain, registry).map(|()| None)
        }
    }
}

/// Both families at the same time; where the shared chains are not as supposed, once more with
/// the eyes open.
fn add_to_iptables(forwards: &[Forward], chain: &str, registry: &Registry) -> Result<()> {
    let mut under_way = Vec::new();
    for forward in forwards {
        let mut tables = Iptables::open(forward.family())?;
        let adding = tables.start_add(forward, chain)?;
        under_way.push((forward, tables, adding));
    }
    let mut failed = Vec::new();
    for (forward, tables, adding) in under_way {
        if !adding.finish() {
            failed.push((forward, tables));
        }
    }
    for (forward, mut tables) in failed {
        // Two at once would add the same shared rule twice.
        let lock = registry.lock()?;
        tables.repair(forward, chain)?;
        drop(lock);
    }
    Ok(())
}

/// Removes what `held` says; succeeds where it is gone.
pub(crate) fn remove_held(owner: &Owner, held: &Held, hints: &Hints) -> Result<Removed> {
    match held.backend {
        Backend::Nftables => Nftables::open()?.remove(owner, held.placed.as_deref(), hints),
        Backend::Iptables => {
            let mut removed = Removed::new();
            for pod in &held.pods {
                let family = Family::of(pod.ip());
                let of_family = held.entries.iter().filter(|(f, _)| *f == family);
                let entries: Vec<String> = of_family.map(|(_, entry)| entry.clone()).collect();
                Iptables::open(family)?.remove(std::slice::from_ref(&held.chain), &entries)?;
                removed.extend(pairs(&held.mappings, &[pod.ip()]));
            }
            Ok(removed)
        }
    }
}

/// Removes the rules of an attachment of which no record tells, wherever they are.
pub(crate) fn remove_unrecorded(leaving: &Leaving, record: Option<&Record>) -> Result<Removed> {
    let hints = hints(leaving);
    let mut removed = match Nftables::open() {
        Ok(mut nft) => nft.remove(&leaving.owner, None, &hints)?,
        // Without nf_tables there are no rules in it.
        Err(_) => Vec::new(),
    };
    let own = [
        chain::container_chain(&leaving.owner),
        chain::interface_chain(&leaving.owner),
        chain::old_snat_chain(&leaving.owner),
    ];
    let is_others = |name: &String| {
        record.is_some_and(|r| {
            r.held.iter().any(|h| h.ifname != leaving.owner.ifname && h.chain == *name)
        })
    };
    let own: Vec<String> = own.into_iter().filter(|name| !is_others(name)).collect();
    for mut tables in Iptables::all() {
        tables.remove(&own, &[])?;
    }
    removed.extend(pairs(&leaving.mappings, &hints.addresses));
    Ok(removed)
}

/// What tells the rules of an attachment from others of the container.
pub(crate) fn hints(leaving: &Leaving) -> Hints {
    Hints {
        addresses: leaving.pods.iter().map(|pod| pod.ip()).collect(),
        mappings: leaving.mappings.clone(),
    }
}

fn pairs(mappings: &[Mapping], pods: &[IpAddr]) -> Vec<(Mapping, IpAddr)> {
    let all = pods.iter().flat_map(|pod| mappings.iter().map(|mapping| (*mapping, *pod)));
    all.filter(|(mapping, pod)| mapping.is_in(Family::of(*pod))).collect()
}

/// Compares the rules with the plan.
pub(crate) fn check(plan: &Plan, backend: Backend, record: Option<&Record>) -> Result<()> {
    let held = record.and_then(|r| r.of(&plan.owner.ifname)).filter(|h| h.backend == backend);
    match backend {
        Backend::Nftables => {
            let before = held.and_then(|h| h.placed.as_deref());
            Nftables::open()?.check(&plan.owner, &plan.forwards, before)
        }
        Backend::Iptables => {
            let chain = held.map_or_else(|| chain_for(&plan.owner, record), |h| h.chain.clone());
            for forward in &plan.forwards {
                Iptables::open(forward.family())?.check(forward, &chain)?;
            }
            Ok(())
        }
    }
}

/// Whether the owner of a claim still has the rule for it.
pub(crate) fn holds(claim: &Claim) -> Result<bool> {
    match claim.backend {
        Backend::Nftables => Nftables::open()?.holds(&claim.owner, &claim.mapping),
        Backend::Iptables => {
            for mut tables in Iptables::all() {
                if claim.mapping.is_in(tables.family())
                    && tables.holds(&claim.owner, &claim.mapping)?
                {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

/// All mappings in force, in either backend.
///
/// # Errors
/// That of `own`; what the other one cannot tell must not keep a node from using this.
pub(crate) fn list(own: Backend) -> Result<Vec<(Backend, Listed)>> {
    let mut all = Vec::new();
    let mut take = |backend, listed: Result<Vec<Listed>>| match listed {
        Err(e) if backend == own => Err(e),
        other => {
            all.extend(other.unwrap_or_default().into_iter().map(|l| (backend, l)));
            Ok(())
        }
    };
    take(Backend::Nftables, Nftables::open().and_then(|mut nft| nft.list()))?;
    for mut tables in Iptables::all() {
        take(Backend::Iptables, tables.list())?;
    }
    Ok(all)
}

/// Whether the backend can take rules.
pub(crate) fn probe(backend: Backend) -> Result<()> {
    match backend {
        Backend::Nftables => Nftables::open()?.probe(),
        Backend::Iptables => iptables::probe(Family::V4).or_else(|fault| {
            // A node without IPv4 has no use for its tables.
            iptables::probe(Family::V6).map_err(|_| fault)
        }),
    }
    .map_err(|e| cni_types::Error { code: Code::NotAvailable, ..e })
}
