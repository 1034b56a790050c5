//! The one interface that an attachment is, wholly in its pod.
//!
//! macvlan and its like put an interface on top of a link of the node straight into the pod. The
//! node keeps nothing of it: it goes with the pod's namespace. What they have in common is here:
//! [`add`], [`del`], [`check`], [`gc`] and [`status`] with the making of the link left out.

mod add;
mod check;
mod remove;

pub use add::{add, add_undone_by, made};
pub use check::{check, status};
pub use remove::{del, del_by, gc};
pub use veth::{AskedMac, first_mac};

use cni_types::{CniResult, Code, Dns, Error, Result};
use netlink::{Link, Netlink};

/// What the verbs need to know beside the call.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// What CHECK must find the link to be; anything where absent.
    pub kind: Option<netlink::Kind>,
    /// Result of an earlier plugin whose addresses and routes the link gets where no IPAM plugin
    /// gives any.
    pub given: Option<CniResult>,
    /// Resolver settings that replace those of the IPAM plugin; may be empty.
    pub dns: Dns,
}

/// The link of the node, or of the pod, that a new one goes on top of: `name`, or where that is
/// empty the one of the default route.
///
/// # Errors
/// [`Code::InvalidConfig`] when there is none; those of the kernel.
pub fn parent(space: &Netlink, name: &str) -> Result<Link> {
    if !name.is_empty() {
        return space.link_by_name(name)?.ok_or_else(|| {
            Error::new(Code::InvalidConfig, format!("master {name:?}: there is no such link"))
                .with_details("name a link of the node, or of the pod with linkInContainer")
        });
    }
    let all = space.routes(netlink::RouteFilter::default())?;
    let is_default =
        |route: &&netlink::Route| route.dst.prefix() == 0 && route.table.is_none_or(|t| t == 254);
    let first = all.iter().filter(is_default).min_by_key(|route| route.priority.unwrap_or(0));
    let found = first.and_then(|route| route.link).map(|link| space.link_by_index(link));
    found.transpose()?.flatten().ok_or_else(|| {
        Error::new(Code::InvalidConfig, "master: is not given, and there is no default route")
            .with_details("name the link that pods are to share")
    })
}

/// An MTU as configured, in bytes, before the link below is known: zero means that of the link below.
///
/// # Errors
/// [`Code::InvalidConfig`] when it can be that of no link.
pub fn configured_mtu(mtu: u32) -> Result<u32> {
    if matches!(mtu, 0 | 68..=65535) {
        return Ok(mtu);
    }
    let cause = format!("mtu {mtu}: want 68 to 65535 bytes, or 0 for the master's");
    Err(Error::new(Code::InvalidConfig, cause))
}

/// An MTU for a link on top of `parent`: zero means its own.
///
/// # Errors
/// [`Code::InvalidConfig`] when it is greater than the parent's, or less than IPv4 needs.
pub fn mtu(asked: u32, parent: &Link) -> Result<Option<u32>> {
    match asked {
        0 => Ok(None),
        68.. if asked <= parent.mtu => Ok(Some(asked)),
        _ => {
            let (name, most) = (&parent.name, parent.mtu);
            let cause = format!("mtu {asked}: want 68 to {most} bytes, the MTU of {name}, or 0");
            Err(Error::new(Code::InvalidConfig, cause))
        }
    }
}
