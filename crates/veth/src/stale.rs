//! GC: pairs that nobody owns any more are deleted.

use cni_plugin::{Gate, NodeCall, Owner, owner};
use cni_types::{Code, Error, Result};
use netlink::{Kind, Link, Netlink};

/// Deletes the pairs of this network whose owner is not valid, and those that a killed ADD left
/// before it could name an owner.
///
/// Such a one has no network either: `is_ours` tells by what the node's end hangs on.
///
/// # Errors
/// Those of the kernel, of all links that could not be deleted.
pub fn delete_stale(
    node: &Netlink,
    call: &NodeCall,
    is_ours: impl Fn(&Link) -> bool,
) -> Result<()> {
    let stale = stale(node, call, is_ours)?;
    Error::collect(stale.iter().map(|link| {
        node.delete_link(link.index).map(drop).map_err(|e| Error::from(e).context(&link.alias))
    }))
}

fn stale(node: &Netlink, call: &NodeCall, is_ours: impl Fn(&Link) -> bool) -> Result<Vec<Link>> {
    let network = call.conf.name.as_str();
    let prefix = owner::prefix(network);
    let valid: Vec<_> = call.valid.iter().map(|a| Owner::attachment(network, a)).collect();
    let is_stale = |link: &Link| {
        let is_ours = if link.alias.is_empty() {
            owner::is_link_name(&link.name) && is_ours(link)
        } else {
            link.alias.starts_with(&prefix)
        };
        is_ours && link.kind == Kind::Veth && !valid.iter().any(|owner| owner.link() == link.name)
    };
    // No ADD is between making a link and naming its owner while the list is taken.
    let _gate = Gate::alone()?;
    let mut links = node.links().map_err(|e| Error { code: Code::Kernel, ..e.into() })?;
    links.retain(is_stale);
    Ok(links)
}
