//! DEL and GC: what an owner has is taken away.

use crate::apply::masquerade_owner;
use crate::config::may_masquerade;
use cni_plugin::{Call, NodeCall, ipam};
use cni_types::{Error, Result};
use netfilter::masquerade::{self, Search, Teardown};
use netlink::{Link, Netlink};

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
    Error::collect([links, rules.and_then(Teardown::finish), release])
}

/// Addresses and routes of both ends go with the pair.
fn delete_links(call: &Call) -> Result<()> {
    let node = Netlink::open()?;
    if veth::delete_own(&node, call)? || veth::delete_in_pod(call, |link| is_pair(&node, link))? {
        return Ok(());
    }
    veth::delete_reported(&node, call, None)
}

/// Whether the pod's interface can be one that the reference plugin made: its other end is on
/// this node, in no bridge, and nobody's by name.
fn is_pair(node: &Netlink, link: &Link) -> Result<bool> {
    let other = veth::other_end(node, link)?;
    Ok(other.is_some_and(|other| other.master.is_none() && other.alias.is_empty()))
}

/// Frees what none of the valid attachments owns.
pub(crate) fn gc(call: &NodeCall) -> Result<()> {
    Error::collect([
        delete_stale_links(call),
        masquerade::gc(call.conf.name.as_str(), &call.valid),
        ipam::gc(call),
    ])
}

fn delete_stale_links(call: &NodeCall) -> Result<()> {
    veth::delete_stale(&Netlink::open()?, call, |link| link.master.is_none())
}
