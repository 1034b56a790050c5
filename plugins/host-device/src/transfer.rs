//! Devices: moved into a pod and back, and given their names again.

use crate::config::Device;
use crate::{device, plan};
use cni_plugin::log;
use cni_types::{Code, Error, Result};
use netlink::{Change, Link, Netlink};
use netns::Netns;
use std::os::fd::AsFd;

/// Moves `link` of the node into the pod, as `ifname`.
///
/// # Errors
/// [`Code::InvalidConfig`] for the loopback interface; those of the kernel. The device is on the
/// node then, as it was.
pub(crate) fn into_pod(
    link: &Link,
    ifname: &str,
    (node, pod, space): (&Netlink, &Netlink, &Netns),
) -> Result<()> {
    if link.loopback {
        let cause = format!("device {}: the loopback interface stays on the node", link.name);
        return Err(Error::new(Code::InvalidConfig, cause));
    }
    let was_there = pod.link_by_name(&link.name)?.is_some();
    let Err(fault) = node.change(link.index, &plan::inward(link, ifname, space.as_fd())) else {
        return Ok(());
    };
    // The kernel moves first and renames then: what moved comes back.
    if let Some(moved) = pod.link_by_name(&link.name)?.filter(|_| !was_there) {
        log("undoing ADD", out_of_pod(&moved, Some(&link.name), (node, pod)));
    }
    set_up_again(node, link);
    Err(fault.into())
}

/// Sets a device up again that was so before a failed ADD took it.
pub(crate) fn set_up_again(node: &Netlink, was: &Link) {
    if was.up {
        let again = node.link_by_name(&was.name).and_then(|link| match link {
            Some(link) => node.set_up(link.index),
            None => Ok(()),
        });
        log("undoing ADD", again);
    }
}

/// Moves `link` of the pod back to the node, under the name `home`; a link without that is no
/// device of the node, and stays. Where the name is taken, the kernel finds another.
///
/// # Errors
/// Those of the kernel.
pub(crate) fn out_of_pod(
    link: &Link,
    home: Option<&str>,
    (node, pod): (&Netlink, &Netlink),
) -> Result<()> {
    let Some(home) = home else { return Ok(()) };
    let own = Netns::current()?;
    let taken = node.link_by_name(home)?.is_some();
    Ok(pod.change(link.index, &plan::outward(home, taken, own.as_fd()))?)
}

/// Gives a device that came back without DEL, with the end of its pod's namespace, its name again.
///
/// # Errors
/// Those of the kernel.
pub(crate) fn restore(node: &Netlink, wanted: &Device) -> Result<()> {
    let Some(link) = device::link(node, wanted)? else { return Ok(()) };
    let Some(original) = plan::original(&link) else { return Ok(()) };
    if node.link_by_name(original)?.is_some() {
        return Ok(());
    }
    if link.up {
        // A link that is up keeps its name.
        node.set_down(link.index)?;
    }
    let change = Change { name: Some(original), alias: Some(""), ..Change::default() };
    Ok(node.change(link.index, &change)?)
}
