//! DEL and GC: what an owner has is taken away.

use crate::apply::rule_owner;
use crate::config::Hints;
use cni_plugin::{Call, NodeCall, ipam};
use cni_types::{Error, Result};
use netfilter::macspoof;
use netfilter::masquerade::{self, Search, Teardown};
use netlink::Netlink;

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
    Error::collect([links, masquerade, macspoof, release])
}

fn delete_links(call: &Call, hints: &Hints) -> Result<()> {
    let node = Netlink::open()?;
    if veth::delete_own(&node, call)? || veth::delete_in_pod(call, |_| Ok(true))? {
        return Ok(());
    }
    if call.conf.prev_result.is_none() {
        return Ok(());
    }
    let Some(bridge) = node.link_by_name(&hints.bridge)? else { return Ok(()) };
    veth::delete_reported(&node, call, Some(bridge.index))
}

/// Frees what none of the valid attachments owns.
pub(crate) fn gc(call: &NodeCall) -> Result<()> {
    let network = call.conf.name.as_str();
    Error::collect([
        delete_stale_links(call),
        masquerade::gc(network, &call.valid),
        macspoof::gc(network, &call.valid),
        ipam::gc(call),
    ])
}

fn delete_stale_links(call: &NodeCall) -> Result<()> {
    let node = Netlink::open()?;
    let bridge = node.link_by_name(&Hints::read(&call.conf).bridge)?.map(|bridge| bridge.index);
    veth::delete_stale(&node, call, |link| bridge.is_some() && link.master == bridge)
}
