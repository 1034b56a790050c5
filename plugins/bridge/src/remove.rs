//! DEL and GC: what an owner has is taken away.

use crate::apply::rule_owner;
use crate::config::Hints;
use cni_plugin::{Call, Gate, NodeCall, Owner, ipam, owner};
use cni_types::{Code, Error, Result};
use netfilter::macspoof;
use netfilter::masquerade::{self, Search, Teardown};
use netlink::{Kind, Link, Netlink};

/// Removes the attachment.
///
/// The kernel makes whoever deletes links or rules wait for milliseconds. So the rules are
/// deleted first, without waiting, then the links, while the IPAM plugin starts; and one wait is
/// for all. The addresses are released last, when nothing uses them any more.
///
/// Rules are found by their owner alone: no address, namespace or result is needed.
pub(crate) fn del(call: &Call) -> Result<()> {
    let hints = Hints::read(&call.conf);
    let lease = ipam::prepare_del(call);
    let owner = rule_owner(call);
    let search = if hints.masquerade { Search::Everything } else { Search::Recorded };
    let masquerade = Teardown::begin(&owner, search);
    let macspoof = macspoof::teardown(&owner);
    let links = delete_links(call, &hints);
    let masquerade = masquerade.and_then(Teardown::finish);
    let macspoof = macspoof.map(drop);
    let release = match (&links, lease) {
        (Ok(()), Ok(lease)) => lease.release(),
        // The pod may still use its addresses.
        (Err(_), Ok(_)) => Ok(()),
        (_, Err(e)) => Err(e),
    };
    joined([links, masquerade, macspoof, release])
}

fn joined(outcomes: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    Error::join(outcomes.into_iter().filter_map(Result::err).collect()).map_or(Ok(()), Err)
}

fn delete_links(call: &Call, hints: &Hints) -> Result<()> {
    let node = Netlink::open()?;
    let owner = Owner::of(call);
    if let Some(link) = node.link_by_name(owner.link())?
        && link.kind == Kind::Veth
        && owner.may_own(&link.alias)
        && node.delete_link(link.index)?
    {
        return Ok(());
    }
    // Not one of ours: the reference plugin gives random names on the node.
    if let Some(pod) = &call.netns {
        let ifname = call.ifname.as_str();
        let inside = Netlink::open_in(pod)?;
        if let Some(link) = inside.link_by_name(ifname)?.filter(|link| link.kind == Kind::Veth) {
            inside.delete_link(link.index)?;
            return Ok(());
        }
    }
    delete_reported(call, &node, hints)
}

/// Deletes the port that the result of ADD names, while the pod cannot be entered.
fn delete_reported(call: &Call, node: &Netlink, hints: &Hints) -> Result<()> {
    let Some(result) = &call.conf.prev_result else { return Ok(()) };
    let Some(bridge) = node.link_by_name(&hints.bridge)? else { return Ok(()) };
    for reported in &result.interfaces {
        // The pod's interface tells which of the node's are this attachment's.
        let on_node = reported.sandbox.is_empty() && reported.name != hints.bridge;
        if !on_node || reported.mac.is_empty() {
            continue;
        }
        let Some(link) = node.link_by_name(&reported.name)? else { continue };
        let same = link.mac.is_some_and(|mac| mac.to_string().eq_ignore_ascii_case(&reported.mac));
        // A link with an alias is one of ours, and its name has said whose: results lie in a
        // cache, and a wrong one must not cost another pod its port.
        let unnamed = link.alias.is_empty();
        if link.kind == Kind::Veth && same && unnamed && link.master == Some(bridge.index) {
            node.delete_link(link.index)?;
        }
    }
    Ok(())
}

/// Frees what none of the valid attachments owns.
pub(crate) fn gc(call: &NodeCall) -> Result<()> {
    let network = call.conf.name.as_str();
    joined([
        delete_stale_links(call),
        masquerade::gc(network, &call.valid),
        macspoof::gc(network, &call.valid),
        ipam::gc(call),
    ])
}

fn delete_stale_links(call: &NodeCall) -> Result<()> {
    let node = Netlink::open()?;
    let stale = stale_links(&node, call)?;
    let deleted = stale.iter().map(|link| {
        node.delete_link(link.index).map(drop).map_err(|e| Error::from(e).context(&link.alias))
    });
    joined(deleted)
}

/// The links of this network whose owner is not valid, and those ports of its bridge that a killed
/// ADD left before it could name an owner.
fn stale_links(node: &Netlink, call: &NodeCall) -> Result<Vec<Link>> {
    let network = call.conf.name.as_str();
    let prefix = owner::prefix(network);
    let valid: Vec<_> = call.valid.iter().map(|a| Owner::attachment(network, a)).collect();
    let bridge = node.link_by_name(&Hints::read(&call.conf).bridge)?;
    let stale = |link: &Link| {
        let is_ours = if link.alias.is_empty() {
            owner::is_link_name(&link.name)
                && link.master.is_some()
                && link.master == bridge.as_ref().map(|bridge| bridge.index)
        } else {
            link.alias.starts_with(&prefix)
        };
        is_ours && link.kind == Kind::Veth && !valid.iter().any(|owner| owner.link() == link.name)
    };
    // No ADD is between making a link and naming its owner while the list is taken.
    let _gate = Gate::alone()?;
    let mut links = node.links().map_err(|e| Error { code: Code::Kernel, ..e.into() })?;
    links.retain(stale);
    Ok(links)
}
