//! DEL: the pair is found and deleted, with its pod there, gone or empty.

use cni_plugin::{Call, Owner};
use cni_types::Result;
use netlink::{Kind, Link, Netlink};

/// Deletes the pair that [`make`](crate::make) made, and tells whether it was there.
///
/// # Errors
/// Those of the kernel.
pub fn delete_own(node: &Netlink, call: &Call) -> Result<bool> {
    let owner = Owner::of(call);
    let found = node.link_by_name(owner.link())?;
    match found.filter(|link| link.kind == Kind::Veth && owner.may_own(&link.alias)) {
        Some(link) => Ok(node.delete_link(link.index)?),
        None => Ok(false),
    }
}

/// Deletes the pair of the pod's interface, where the pod is there and that is a veth that
/// `is_pair` says yes to, and tells whether it did.
///
/// For a pair that is not one of ours: the reference plugins give random names on the node.
///
/// # Errors
/// Those of the kernel and of `is_pair`.
pub fn delete_in_pod(call: &Call, is_pair: impl FnOnce(&Link) -> Result<bool>) -> Result<bool> {
    let Some(pod) = &call.netns else { return Ok(false) };
    let inside = Netlink::open_in(pod)?;
    let found = inside.link_by_name(call.ifname.as_str())?;
    let Some(link) = found.filter(|link| link.kind == Kind::Veth) else { return Ok(false) };
    if !is_pair(&link)? {
        return Ok(false);
    }
    inside.delete_link(link.index)?;
    Ok(true)
}

/// Deletes the node's ends that the result of ADD names, which hang on `master`, or on nothing
/// where that is absent; for a pair that is not one of ours, while the pod cannot be entered.
///
/// # Errors
/// Those of the kernel.
pub fn delete_reported(node: &Netlink, call: &Call, master: Option<u32>) -> Result<()> {
    let Some(result) = &call.conf.prev_result else { return Ok(()) };
    for reported in &result.interfaces {
        // The pod's interface tells which of the node's are this attachment's.
        if !reported.sandbox.is_empty() || reported.mac.is_empty() {
            continue;
        }
        let Some(link) = node.link_by_name(&reported.name)? else { continue };
        // The name alone may have been given to another pod since.
        let same = link.mac.is_some_and(|mac| mac.to_string().eq_ignore_ascii_case(&reported.mac));
        // A link with an alias is one of ours, and its name has said whose: results lie in a
        // cache, and a wrong one must not cost another pod its link.
        let unnamed = link.alias.is_empty();
        if link.kind == Kind::Veth && same && unnamed && link.master == master {
            node.delete_link(link.index)?;
        }
    }
    Ok(())
}
