//! ADD and DEL.

use crate::config::Config;
use crate::plan;
use crate::transfer::{Belongings, Home};
use cni_plugin::{Call, Undo, log};
use cni_types::{CniResult, Code, Error, Result};
use netlink::{Kind, Link, Netlink, Place, RouteFilter};

/// Puts the pod's interface into its VRF, which is made where it is missing.
///
/// # Errors
/// [`Code::InvalidConfig`] without the interface or its result; [`Code::Conflict`] when the name,
/// the table or the interface is taken; those of the kernel.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf)?;
    let result = call.prev_result()?;
    let pod = Netlink::open_in(call.pod()?)?;
    let link = interface(&pod, call)?;
    let before = master(&pod, &link)?;
    if let Some(master) = before.as_ref().filter(|master| master.name != config.name) {
        return Err(taken(&link, master));
    }
    let (vrf, is_new) = ensure(&pod, &config)?;
    let device = Undo::new(|| {
        if is_new {
            log("undoing ADD", pod.delete_link(vrf.index));
        }
    });
    let to = Home::of(&vrf);
    // After an ADD that was killed the interface is there already, perhaps without its routes.
    let from = if before.is_some() { to } else { Home::NONE };
    let belongings = Belongings::of(&pod, &link, from)?.with_result(result, &link);
    let moved = Undo::new(|| {
        log("undoing ADD", belongings.carry((call, &pod), &link, from));
    });
    belongings.carry((call, &pod), &link, to)?;
    wait_for_carrier(&link)?;
    moved.keep();
    device.keep();
    Ok(result.clone())
}

/// Takes the interface out of its VRF, with its addresses and routes, and deletes a VRF that has no
/// members any more.
///
/// The VRF is the one that the interface is in, whatever the configuration calls it by now; that
/// of the configuration counts too, as an ADD may have been killed before it was used.
///
/// # Errors
/// Those of the kernel. What is gone is no error.
pub(crate) fn del(call: &Call) -> Result<()> {
    let Some(space) = &call.netns else { return Ok(()) };
    let pod = Netlink::open_in(space)?;
    let mut vrfs = Vec::new();
    if let Some(link) = pod.link_by_name(call.ifname.as_str())?
        && let Some(vrf) = master(&pod, &link)?.filter(|master| master.kind == Kind::Vrf)
    {
        leave(call, &pod, &link, &vrf)?;
        vrfs.push(vrf);
    }
    if let Ok(config) = Config::read(&call.conf)
        && let Some(vrf) = pod.link_by_name(&config.name)?.filter(|link| link.kind == Kind::Vrf)
        && !vrfs.iter().any(|known| known.index == vrf.index)
    {
        vrfs.push(vrf);
    }
    for vrf in vrfs {
        if pod.ports(vrf.index)?.is_empty() {
            pod.delete_link(vrf.index)?;
        }
    }
    Ok(())
}

/// The interface is going: what it had is for the DEL of the plugin before, which may look at its
/// addresses, and is no reason to fail.
fn leave(call: &Call, pod: &Netlink, link: &Link, vrf: &Link) -> Result<()> {
    let belongings = Belongings::of(pod, link, Home::of(vrf))?;
    let carried = belongings.carry((call, pod), link, Home::NONE);
    let now = pod.link_by_index(link.index)?;
    match carried {
        Err(fault) if now.is_some_and(|link| link.master == Some(vrf.index)) => Err(fault),
        other => {
            log(format!("interface {}: taken out of VRF {}", link.name, vrf.name), other);
            Ok(())
        }
    }
}

/// The interface that the earlier plugin has made.
fn interface(pod: &Netlink, call: &Call) -> Result<Link> {
    let ifname = call.ifname.as_str();
    pod.link_by_name(ifname)?.ok_or_else(|| {
        let cause = format!("interface {ifname}: is not in the pod");
        Error::new(Code::InvalidConfig, cause)
            .with_details("vrf stands in a list behind the plugin that makes the interface")
    })
}

/// The VRF, bridge or bond that the link belongs to.
pub(crate) fn master(pod: &Netlink, link: &Link) -> Result<Option<Link>> {
    Ok(link.master.map(|index| pod.link_by_index(index)).transpose()?.flatten())
}

fn taken(link: &Link, master: &Link) -> Error {
    let cause = format!("interface {}: belongs to {}, a {}", link.name, master.name, master.kind);
    Error::new(Code::Conflict, cause).with_details("an interface is in one VRF at most")
}

/// The VRF, and whether it is new.
fn ensure(pod: &Netlink, config: &Config) -> Result<(Link, bool)> {
    if let Some(link) = pod.link_by_name(&config.name)? {
        return usable(pod, link, config).map(|link| (link, false));
    }
    let table = match config.table {
        Some(table) => table,
        None => free_table(pod)?,
    };
    pod.create_vrf(&Place { name: &config.name, ..Place::default() }, table)?;
    Ok((pod.expect_link(&config.name)?, true))
}

fn usable(pod: &Netlink, link: Link, config: &Config) -> Result<Link> {
    let name = &link.name;
    let Some(table) = link.vrf else {
        let cause = format!("vrfname: the pod has a {} called {name}, no VRF", link.kind);
        return Err(Error::new(Code::Conflict, cause));
    };
    if let Some(wanted) = config.table.filter(|wanted| *wanted != table) {
        let cause = format!("VRF {name}: has table {table}, not {wanted}");
        return Err(Error::new(Code::Conflict, cause)
            .with_details("all attachments of a pod to one VRF must name one table, or none"));
    }
    if !link.up {
        pod.set_up(link.index)?;
    }
    Ok(link)
}

/// A table that no VRF and no route of the pod has.
fn free_table(pod: &Netlink) -> Result<u32> {
    let mut taken: Vec<_> = pod.links()?.iter().filter_map(|link| link.vrf).collect();
    taken.extend(pod.routes(RouteFilter::default())?.iter().filter_map(|route| route.table));
    plan::free_table(&taken)
        .ok_or_else(|| Error::new(Code::Kernel, "table: the pod has used up all routing tables"))
}

/// The interface was down for a moment: until the kernel has noticed that it is up again, the
/// other end of a veth loses packets.
fn wait_for_carrier(link: &Link) -> Result<()> {
    if !link.running {
        return Ok(());
    }
    let node = Netlink::open()?;
    match veth::other_end(&node, link)?.filter(|other| other.up) {
        Some(other) => {
            let subject = format!("link {}", other.name);
            veth::wait_for_carrier(&node, other.index, &subject).map(drop)
        }
        None => Ok(()),
    }
}
