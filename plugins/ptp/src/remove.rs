//! DEL and GC: what an owner has is taken away.

use crate::apply::masquerade_owner;
use crate::config::may_masquerade;
use cni_plugin::{Call, Gate, NodeCall, Owner, ipam, owner};
use cni_types::{Code, Error, Result};
use netfilter::masquerade::{self, Search, Teardown};
use netlink::{Kind, Link, Netlink};

/// Removes the attachment.
///
/// The kernel takes milliseconds to delete a link; meanwhile the rules go and the IPAM plugin
/// starts. The addresses are released last, when nothing uses them any more.
pub(crate) fn del(call: &Call) -> Result<()> {
    let lease = ipam::prepare_del(call);
    let search = if may_masquerade(&call.conf) { Search::Everything } else { Search::Recorded };
    let rules = Teardown::begin(&masquerade_owner(call), search);
    let links = delete_links(call);
    let release = match (&links, lease) {
        (Ok(()), Ok(lease)) => lease.release(),
        // The pod may still use its addresses.
        (Err(_), Ok(_)) => Ok(()),
        (_, Err(e)) => Err(e),
    };
    joined([links, rules.and_then(Teardown::finish), release])
}

fn joined(outcomes: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    Error::join(outcomes.into_iter().filter_map(Result::err).collect()).map_or(Ok(()), Err)
}

/// Addresses and routes of both ends go with the pair.
fn delete_links(call: &Call) -> Result<()> {
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
        let inside = Netlink::open_in(pod)?;
        if let Some(link) = inside.link_by_name(call.ifname.as_str())?
            && is_pair(&node, &link)?
        {
            inside.delete_link(link.index)?;
            return Ok(());
        }
    }
    delete_reported(call, &node)
}

/// Whether the pod's interface can be one that the reference plugin made: a veth whose other end
/// is on this node, in no bridge, and nobody's by name.
fn is_pair(node: &Netlink, link: &Link) -> Result<bool> {
    let Some(peer) = link.peer.filter(|_| link.kind == Kind::Veth) else { return Ok(false) };
    let other = node.link_by_index(peer)?;
    Ok(other.is_some_and(|other| is_nobodys(&other) && other.peer == Some(link.index)))
}

fn is_nobodys(link: &Link) -> bool {
    link.kind == Kind::Veth && link.master.is_none() && link.alias.is_empty()
}

/// Deletes the node's interface that the result of ADD names, where the pod cannot be entered.
fn delete_reported(call: &Call, node: &Netlink) -> Result<()> {
    let Some(result) = &call.conf.prev_result else { return Ok(()) };
    for reported in &result.interfaces {
        if !reported.sandbox.is_empty() || reported.mac.is_empty() {
            continue;
        }
        let Some(link) = node.link_by_name(&reported.name)? else { continue };
        // The name alone may have been given to another pod since.
        let same = link.mac.is_some_and(|mac| mac.to_string().eq_ignore_ascii_case(&reported.mac));
        if same && is_nobodys(&link) {
            node.delete_link(link.index)?;
        }
    }
    Ok(())
}

/// Frees what none of the valid attachments owns.
pub(crate) fn gc(call: &NodeCall) -> Result<()> {
    joined([
        delete_stale_links(call),
        masquerade::gc(call.conf.name.as_str(), &call.valid),
        ipam::gc(call),
    ])
}

fn delete_stale_links(call: &NodeCall) -> Result<()> {
    let node = Netlink::open()?;
    let stale = stale_links(&node, call)?;
    joined(stale.iter().map(|link| {
        node.delete_link(link.index).map(drop).map_err(|e| Error::from(e).context(&link.alias))
    }))
}

/// The links of this network whose owner is not valid, and those that a killed ADD left before
/// they could name an owner.
fn stale_links(node: &Netlink, call: &NodeCall) -> Result<Vec<Link>> {
    let network = call.conf.name.as_str();
    let prefix = owner::prefix(network);
    let valid: Vec<_> = call.valid.iter().map(|a| Owner::attachment(network, a)).collect();
    let stale = |link: &Link| {
        let is_ours = if link.alias.is_empty() {
            owner::is_link_name(&link.name) && link.master.is_none()
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
