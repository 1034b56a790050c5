//! The wish: the link, from the configuration and the link below.

use crate::config::Config;
use cni_types::Result;
use netlink::{Link, MacVlan};
use std::os::fd::BorrowedFd;

/// The link to make, by the name that the attachment asks for, in the pod.
///
/// # Errors
/// The MTU is greater than that of the link below.
pub(crate) fn link<'a>(
    config: &Config,
    parent: &Link,
    (name, pod): (&'a str, Option<BorrowedFd<'a>>),
) -> Result<MacVlan<'a>> {
    Ok(MacVlan {
        name,
        parent: parent.index,
        mode: config.mode,
        mtu: podlink::mtu(config.mtu, parent)?,
        mac: config.mac,
        broadcast_queue: config.broadcast_queue,
        namespace: pod,
    })
}
