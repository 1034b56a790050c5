//! The wish: what a device is called, in the pod and back on the node.

use crate::config::is_link_name;
use netlink::{Change, Link};
use std::os::fd::BorrowedFd;

/// A name of the kernel's choice, for a device whose own is taken.
const FREE: &str = "dev%d";

/// The way into the pod, all in one request, so that nobody sees the device under a third name or
/// without the note of its own in its alias.
pub(crate) fn inward<'a>(link: &'a Link, ifname: &'a str, pod: BorrowedFd<'a>) -> Change<'a> {
    Change {
        namespace: Some(pod),
        name: Some(ifname),
        alias: Some(original(link).unwrap_or(&link.name)),
        ..Change::default()
    }
}

/// The way back to the node, where `taken` tells whether the old name is in use.
pub(crate) fn outward<'a>(original: &'a str, taken: bool, node: BorrowedFd<'a>) -> Change<'a> {
    let name = if taken { FREE } else { original };
    // With its name in its alias, a device that could not have it back can get it later.
    let alias = if taken { original } else { "" };
    Change { namespace: Some(node), name: Some(name), alias: Some(alias), ..Change::default() }
}

/// The name that a device had before it went into a pod, if it is noted and another now. The
/// note is the alias, as the reference plugin writes it.
pub(crate) fn original(link: &Link) -> Option<&str> {
    (is_link_name(&link.alias) && link.alias != link.name).then_some(link.alias.as_str())
}

/// The name to go back to of a device in a pod, where its own name on the node may be the same.
pub(crate) fn home(link: &Link) -> Option<&str> {
    is_link_name(&link.alias).then_some(link.alias.as_str())
}
