//! Connections that outlive a change of rules.
//!
//! A peer that keeps sending keeps the entry of a UDP or SCTP connection alive, and with it the
//! translation that was decided when it began: to a pod that is gone, or to none at all. TCP
//! needs no help: it notices and connects anew.

use crate::plan::Plan;
use crate::rules::Removed;
use cni_types::{Code, Error, Result};
use netfilter::conntrack::{self, Conntrack, Entry, Filter};
use netfilter::hostport::{Family, Forward, Mapping, Protocol};
use netlink::Netlink;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// With more addresses than this, one walk through all entries costs less than one sweep each.
const ADDRESSES: usize = 32;

fn fault(cause: &io::Error) -> Error {
    Error::new(Code::Kernel, format!("conntrack: {cause}"))
}

/// `None` where the kernel tracks no connection, or has no way to tell of them.
fn open() -> Result<Option<Conntrack>> {
    if conntrack::is_empty() {
        return Ok(None);
    }
    Conntrack::open().map(Some).map_err(|e| fault(&e))
}

/// Whether the kernel was built without ctnetlink: then nobody can remove entries.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::EOPNOTSUPP | nix::libc::EPROTONOSUPPORT))
}

fn done(answer: io::Result<()>) -> Result<()> {
    match answer {
        Err(e) if !is_absent(&e) => Err(fault(&e)),
        _ => Ok(()),
    }
}

fn filter(mapping: &Mapping) -> Filter {
    Filter {
        to: mapping.address(),
        to_port: Some(mapping.host_port),
        ..Filter::protocol(mapping.protocol.number())
    }
}

fn lingering(mappings: &[Mapping]) -> BTreeMap<Protocol, Vec<Mapping>> {
    let mut by_protocol: BTreeMap<Protocol, Vec<Mapping>> = BTreeMap::new();
    for mapping in mappings.iter().filter(|m| m.protocol.lingers()) {
        by_protocol.entry(mapping.protocol).or_default().push(*mapping);
    }
    by_protocol
}

fn is_meant(mappings: &[Mapping], entry: &Entry) -> bool {
    mappings.iter().any(|m| filter(m).admits(entry))
}

/// Ends the connections to removed mappings, as far as they lead to their pods.
pub(crate) fn end(removed: &Removed) -> Result<()> {
    if !removed.iter().any(|(m, _)| m.protocol.lingers()) {
        return Ok(());
    }
    let Some(mut conntrack) = open()? else { return Ok(()) };
    let mut by_pod: BTreeMap<IpAddr, Vec<Mapping>> = BTreeMap::new();
    for (mapping, pod) in removed {
        by_pod.entry(*pod).or_default().push(*mapping);
    }
    for (pod, mappings) in by_pod {
        let family = Family::of(pod);
        for (protocol, mappings) in lingering(&mappings) {
            if family == Family::V4 {
                for mapping in &mappings {
                    let filter = Filter { answered_by: Some(pod), ..filter(mapping) };
                    done(conntrack.sweep(family, &filter))?;
                }
                continue;
            }
            let filter = Filter { answered_by: Some(pod), ..Filter::protocol(protocol.number()) };
            let ended = conntrack.forget(family, &filter, |e| is_meant(&mappings, e));
            done(ended.map(|_| ()))?;
        }
    }
    Ok(())
}

/// Ends the connections to the host ports of `plan` that began before its rules.
pub(crate) fn renew(plan: &Plan) -> Result<()> {
    if !plan.forwards.iter().any(|f| f.own_mappings().iter().any(|m| m.protocol.lingers())) {
        return Ok(());
    }
    let Some(mut conntrack) = open()? else { return Ok(()) };
    let netlink = Netlink::open().map_err(|e| Error::new(Code::Kernel, e.to_string()))?;
    for forward in &plan.forwards {
        for mappings in lingering(&forward.own_mappings()).into_values() {
            let addresses = sweepable(forward, &mappings, &netlink)?;
            match addresses {
                Some(addresses) => sweep(&mut conntrack, &mappings, &addresses)?,
                None => walk(&mut conntrack, forward, &mappings, &netlink)?,
            }
        }
    }
    Ok(())
}

/// The node's addresses if sweeping each is the better way: entries of connections through this
/// node, to the same port of others, are not to be touched.
fn sweepable(
    forward: &Forward,
    mappings: &[Mapping],
    netlink: &Netlink,
) -> Result<Option<Vec<IpAddr>>> {
    if forward.family() == Family::V6 {
        return Ok(None);
    }
    if mappings.iter().all(|m| m.address().is_some()) {
        return Ok((mappings.len() <= ADDRESSES).then(Vec::new));
    }
    let own = netlink.own_ipv4().map_err(|e| Error::new(Code::Kernel, e.to_string()))?;
    let is_few = own.len() * mappings.len() <= ADDRESSES;
    Ok(is_few.then(|| own.into_iter().map(IpAddr::V4).collect()))
}

fn sweep(conntrack: &mut Conntrack, mappings: &[Mapping], own: &[IpAddr]) -> Result<()> {
    for mapping in mappings {
        match mapping.address() {
            Some(_) => done(conntrack.sweep(Family::V4, &filter(mapping)))?,
            None => {
                for ip in own {
                    let filter = Filter { to: Some(*ip), ..filter(mapping) };
                    done(conntrack.sweep(Family::V4, &filter))?;
                }
            }
        }
    }
    Ok(())
}

fn walk(
    conntrack: &mut Conntrack,
    forward: &Forward,
    mappings: &[Mapping],
    netlink: &Netlink,
) -> Result<()> {
    let Some(first) = mappings.first() else { return Ok(()) };
    let mut wanted = Filter::protocol(first.protocol.number());
    if mappings.len() == 1 {
        wanted.to_port = Some(first.host_port);
    }
    let mut known: BTreeMap<IpAddr, bool> = BTreeMap::new();
    let ended = conntrack.forget(forward.family(), &wanted, |entry| {
        let is_right = mappings.iter().any(|m| {
            filter(m).admits(entry)
                && entry.reply.from == forward.pod.ip()
                && entry.reply.from_port == m.container_port
        });
        is_meant(mappings, entry)
            && !is_right
            && *known.entry(entry.original.to).or_insert_with(|| {
                // In doubt it is a connection of somebody else.
                netlink.way_to(entry.original.to).ok().flatten().is_some_and(|w| w.is_local)
            })
    });
    done(ended.map(|_| ()))
}
