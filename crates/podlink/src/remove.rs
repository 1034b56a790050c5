//! DEL and GC: what an owner has is taken away.

use crate::Wish;
use cni_plugin::{Call, NodeCall, ipam};
use cni_types::{Dns, Error, Result};
use netlink::{Kind, Netlink};

/// Removes the attachment: the link, if the pod is there and it is of this kind, then the lease.
///
/// # Errors
/// Those of the kernel and of the IPAM plugin; what can be removed is.
pub fn del(call: &Call, kind: &Kind) -> Result<()> {
    del_by(call, || delete_link(call, kind))
}

/// As [`del`], with `remove` for what becomes of the link.
///
/// # Errors
/// Those of `remove` and of the IPAM plugin; what can be removed is.
pub fn del_by(call: &Call, remove: impl FnOnce() -> Result<()>) -> Result<()> {
    let lease = ipam::prepare_del(call);
    let link = remove();
    let release = match (&link, lease) {
        (Ok(()), Ok(lease)) => lease.release(),
        // The pod may still use its addresses.
        (Err(_), Ok(_)) => Ok(()),
        (_, Err(e)) => Err(e),
    };
    Error::collect([link, release])
}

fn delete_link(call: &Call, kind: &Kind) -> Result<()> {
    let Some(pod) = &call.netns else { return Ok(()) };
    let pod = Netlink::open_in(pod)?;
    match pod.link_by_name(call.ifname.as_str())?.filter(|link| link.kind == *kind) {
        Some(link) => Ok(pod.delete_link(link.index).map(drop)?),
        None => Ok(()),
    }
}

/// Frees the addresses that none of the valid attachments owns; links went with their pods.
///
/// # Errors
/// Those of the IPAM plugin.
pub fn gc(call: &NodeCall) -> Result<()> {
    ipam::gc(call)
}

impl Wish {
    /// A link of this kind, with the resolver settings of the IPAM plugin where `dns` is empty.
    pub fn of(kind: Kind, dns: &Dns) -> Wish {
        Wish { kind: Some(kind), dns: dns.clone(), given: None }
    }
}
