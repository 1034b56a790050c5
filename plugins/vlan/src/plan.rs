//! The wish: the link, from the configuration and the link below.

use crate::config::Config;
use cni_types::Result;
use netlink::{Link, Place};
use std::os::fd::BorrowedFd;

/// Where the link is made: by the name that the attachment asks for, in the pod.
///
/// # Errors
/// The MTU is greater than that of the link below.
pub(crate) fn place<'a>(
    config: &Config,
    parent: &Link,
    (name, pod): (&'a str, Option<BorrowedFd<'a>>),
) -> Result<Place<'a>> {
    Ok(Place { name, mtu: podlink::mtu(config.mtu, parent)?, namespace: pod })
}
