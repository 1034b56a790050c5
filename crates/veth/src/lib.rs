//! The veth pair by which an attachment hangs on the node.
//!
//! Made, found, waited for and deleted here in one way for every plugin that gives a pod such a
//! pair; what the node's end hangs on, and what a pair of somebody else's looks like, is the
//! plugin's to say.
//!
//! Invariant: a link is deleted only when it is this attachment's by name and alias, or when it
//! is nobody's and the plugin says that it is what it looks for.

mod address;
mod carrier;
mod delete;
mod make;
pub mod report;
mod stale;

pub use address::{AskedMac, first_mac};
pub use carrier::wait_for_carrier;
pub use delete::{delete_in_pod, delete_own, delete_reported};
pub use make::{Wish, make};
pub use stale::delete_stale;

use cni_types::Result;
use netlink::{Kind, Link, Netlink};

/// The node's end of the pair whose other end is `pod`, if it is on this node.
///
/// # Errors
/// Those of the kernel.
pub fn other_end(node: &Netlink, pod: &Link) -> Result<Option<Link>> {
    let other = pod.peer.map(|index| node.link_by_index(index)).transpose()?.flatten();
    Ok(other.filter(|other| other.kind == Kind::Veth && other.peer == Some(pod.index)))
}
