//! The verbs: claim, rules, connections, in an order that a kill at any point leaves for DEL
//! and GC to finish.

use crate::config::Config;
use crate::flows;
use crate::plan::{Leaving, Plan};
use crate::rules::{self, Place, Removed};
use cni_plugin::{Known, NodeCall, Undo};
use cni_types::{Code, Error, Result};
use netfilter::hostport::registry::{Granted, Held, Registry};
use netfilter::hostport::{Backend, Family, Forward, Iptables, Mapping, Nftables, Owner, chain};
use netlink::Netlink;
use std::collections::HashSet;
use std::net::IpAddr;

pub(crate) fn add(plan: &Plan) -> Result<()> {
    let registry = Registry::of_node();
    let record = registry.record(&plan.owner.network, &plan.owner.container_id)?;
    let earlier = record.as_ref().and_then(|r| r.of(&plan.owner.ifname));
    if plan.forwards.is_empty() {
        // A retry may ask for less than the try before it made.
        return if earlier.is_some() { del(&leaving(plan)) } else { Ok(()) };
    }
    let backend = plan.backend(rules::default_backend);
    plan.config.suits(backend)?;
    let chain = rules::chain_for(&plan.owner, record.as_ref());
    let place = Place { backend, chain: &chain, earlier, may_be_there: !registry.exists() };
    let held = Held {
        ifname: plan.owner.ifname.clone(),
        backend,
        chain: chain.clone(),
        pods: plan.pods(),
        mappings: plan.mappings(),
        entries: entries(plan, backend, &chain),
        placed: None,
    };
    let granted = claim(&registry, &plan.owner, &held)?;
    let undo = Undo::new(|| {
        // The first error is the one to report; DEL, which the runtime owes, tries again.
        cni_plugin::log("undoing ADD", del(&leaving(plan)));
    });
    let placed = rules::add(plan, &place, &registry)?;
    registry.settle(&plan.owner, Held { placed, ..held })?;
    drop(granted);
    flows::renew(plan)?;
    if let Some(pod) = plan.loopback_target() {
        let_loopback_out(pod)?;
    }
    undo.keep();
    Ok(())
}

/// What leads to the chain in iptables, so that DEL need not look for it.
fn entries(plan: &Plan, backend: Backend, chain: &str) -> Vec<(Family, String)> {
    let of = |forward: &Forward| {
        let family = forward.family();
        let entries = chain::container(forward, chain).entries;
        entries.into_iter().map(move |entry| (family, entry.to_string()))
    };
    match backend {
        Backend::Iptables => plan.forwards.iter().flat_map(of).collect(),
        Backend::Nftables => Vec::new(),
    }
}

fn claim(registry: &Registry, owner: &Owner, held: &Held) -> Result<Granted> {
    let lock = registry.lock()?;
    lock.adopt_once(|| rules::list(held.backend))?;
    lock.claim(owner, held, &mut rules::holds)
}

fn leaving(plan: &Plan) -> Leaving {
    Leaving { owner: plan.owner.clone(), pods: plan.pods(), mappings: plan.mappings() }
}

/// Lets packets from 127.0.0.0/8 leave by the link to the pod.
fn let_loopback_out(pod: IpAddr) -> Result<()> {
    let fault = |e: netlink::Error| Error::new(Code::Kernel, e.to_string());
    let netlink = Netlink::open().map_err(fault)?;
    let Some(way) = netlink.way_to(pod).map_err(fault)? else { return Ok(()) };
    let Some(link) = netlink.link_by_index(way.link).map_err(fault)? else { return Ok(()) };
    let key = sysctl::interface(sysctl::Family::V4, &link.name, "route_localnet");
    sysctl::write(&key, "1").map(|_| ()).map_err(|e| {
        Error::new(Code::Kernel, e.to_string()).with_details(
            "without it host ports cannot be reached by 127.0.0.1; \"snat\": false does without",
        )
    })
}

pub(crate) fn del(leaving: &Leaving) -> Result<()> {
    let registry = Registry::of_node();
    let owner = &leaving.owner;
    let record = registry.record(&owner.network, &owner.container_id)?;
    let removed = match record.as_ref().and_then(|r| r.of(&owner.ifname)) {
        Some(held) => rules::remove_held(owner, held, &rules::hints(leaving))?,
        // Most pods have no host port: theirs must cost nothing.
        None if leaving.mappings.is_empty() && registry.exists() => return Ok(()),
        None => rules::remove_unrecorded(leaving, record.as_ref())?,
    };
    flows::end(&removed)?;
    if !registry.exists() {
        return Ok(());
    }
    let lock = registry.lock()?;
    lock.release(owner)?;
    if record.is_none() {
        lock.forget(&mappings_of(&removed), &|other| {
            other.container_id == owner.container_id
                && (other.network.is_empty() || other.may_be(owner))
        })?;
    }
    Ok(())
}

fn mappings_of(removed: &Removed) -> Vec<Mapping> {
    removed.iter().map(|(mapping, _)| *mapping).collect()
}

pub(crate) fn check(plan: &Plan) -> Result<()> {
    if plan.forwards.is_empty() {
        return Ok(());
    }
    let backend = plan.backend(rules::default_backend);
    plan.config.suits(backend)?;
    let record = Registry::of_node().record(&plan.owner.network, &plan.owner.container_id)?;
    rules::check(plan, backend, record.as_ref())
}

pub(crate) fn gc(call: &NodeCall) -> Result<()> {
    let network = call.conf.name.as_str();
    let mut errors = Vec::new();
    let mut removed = Removed::new();
    let keep = |id: &str, ifname: &str| is_valid(call, id, Some(ifname));
    let known = Known::read();
    let keep_unknown = |id: &str| is_valid(call, id, None) || known.may_have_container(id);
    if let Ok(mut nft) = Nftables::open() {
        match nft.collect(network, &keep, &keep_unknown) {
            Ok(gone) => removed.extend(gone),
            Err(e) => errors.push(e),
        }
    }
    let chains = chains_to_keep(call);
    for mut tables in Iptables::all() {
        match tables.collect(network, &chains) {
            Ok(gone) => removed.extend(gone),
            Err(e) => errors.push(e),
        }
    }
    errors.extend(flows::end(&removed).err());
    let registry = Registry::of_node();
    if registry.exists() && errors.is_empty() {
        let collected = registry.lock().and_then(|lock| {
            lock.forget(&mappings_of(&removed), &|other| {
                let is_here = other.network.is_empty() || other.network == network;
                is_here && !is_valid(call, &other.container_id, None)
            })?;
            lock.collect(network, &keep)
        });
        errors.extend(collected.err());
    }
    Error::join(errors).map_or(Ok(()), Err)
}

/// Whether a rule of `id` is to be kept; of a long ID only the start may be known.
fn is_valid(call: &NodeCall, id: &str, ifname: Option<&str>) -> bool {
    call.valid.iter().any(|a| {
        let is_container =
            a.container_id == id || (id.len() >= 128 && a.container_id.starts_with(id));
        is_container && ifname.is_none_or(|name| name.is_empty() || name == a.ifname)
    })
}

fn chains_to_keep(call: &NodeCall) -> HashSet<String> {
    let mut chains = HashSet::new();
    for attachment in &call.valid {
        let owner = Owner {
            network: call.conf.name.as_str().to_owned(),
            container_id: attachment.container_id.clone(),
            ifname: attachment.ifname.clone(),
        };
        chains.insert(chain::container_chain(&owner));
        chains.insert(chain::interface_chain(&owner));
    }
    chains
}

pub(crate) fn status(config: &Config) -> Result<()> {
    let backend = match config.backend {
        crate::config::Choice::Wished(backend) => backend,
        crate::config::Choice::Default => rules::default_backend(),
    };
    config.suits(backend)?;
    rules::probe(backend)?;
    Registry::of_node()
        .lock()
        .map(|_| ())
        .map_err(|e| Error { code: Code::NotAvailable, ..e }.context("port registry"))
}
