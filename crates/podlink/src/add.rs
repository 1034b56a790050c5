//! ADD: made, given addresses and routes, set up.

use crate::Wish;
use cni_plugin::{Call, Undo, ipam, log};
use cni_types::{CniResult, Code, Error, Result};
use netlink::{Link, Netlink};
use sysctl::Family;
use veth::report;

/// Makes the attachment: `make` makes the link in the pod, by the name that the call asks for.
///
/// The IPAM plugin starts meanwhile, and begins its work only when the link is there: an ADD that
/// fails because the attachment exists already must not touch that one's addresses. Without an
/// IPAM plugin the link stays without addresses.
///
/// # Errors
/// [`Code::Conflict`] when the pod has an interface of that name; those of `make`, of the IPAM
/// plugin and of the kernel. Nothing is left then.
pub fn add(
    call: &Call,
    wish: &Wish,
    make: impl FnOnce(&Netlink, &Netlink) -> Result<()>,
) -> Result<CniResult> {
    add_undone_by(call, wish, make, |_, pod, link| Ok(pod.delete_link(link.index).map(drop)?))
}

/// As [`add`] for a link that is not to be deleted: a failure undoes `make` with `unmake`, which
/// is given the node, the pod and the link.
///
/// # Errors
/// As [`add`].
pub fn add_undone_by(
    call: &Call,
    wish: &Wish,
    make: impl FnOnce(&Netlink, &Netlink) -> Result<()>,
    unmake: impl FnOnce(&Netlink, &Netlink, &Link) -> Result<()>,
) -> Result<CniResult> {
    let prepared = ipam::prepare_add(call)?;
    let ifname = call.ifname.as_str();
    let (node, pod) = (Netlink::open()?, Netlink::open_in(call.pod()?)?);
    if pod.link_by_name(ifname)?.is_some() {
        return Err(taken(call));
    }
    make(&node, &pod)?;
    let made = pod.expect_link(ifname)?;
    let link = Undo::new(|| log("undoing ADD", unmake(&node, &pod, &made)));
    let pending = prepared.begin()?;
    let lease = pending.finish()?;
    // Declared behind the lease, the link is undone before it: a released address is unused.
    let link = link;
    let plan = plan(wish, lease.result());
    configure(call, &pod, &made, &plan)?;
    let now = pod.expect_link(ifname)?;
    link.keep();
    let _kept = lease.keep();
    Ok(CniResult { interfaces: vec![report::interface(&now, &call.netns_path)], ..plan })
}

/// The outcome of making the link: a name that is taken is a conflict of attachments.
///
/// # Errors
/// [`Code::Conflict`]; those of the kernel.
pub fn made(call: &Call, outcome: netlink::Result<()>) -> Result<()> {
    match outcome {
        Err(e) if e.is_exists() => Err(taken(call)),
        other => Ok(other?),
    }
}

fn taken(call: &Call) -> Error {
    let ifname = call.ifname.as_str();
    Error::new(Code::Conflict, format!("interface {ifname}: is in the pod already"))
        .with_details("DEL the attachment first, or give this one another CNI_IFNAME")
}

/// What the lease gives, or the earlier plugin, for the only interface.
fn plan(wish: &Wish, lease: &CniResult) -> CniResult {
    let given = wish.given.as_ref().filter(|_| lease.ips.is_empty());
    let mut plan = given.unwrap_or(lease).clone();
    for ip in &mut plan.ips {
        ip.interface = Some(0);
    }
    if !wish.dns.is_empty() {
        plan.dns = wish.dns.clone();
    }
    plan
}

fn configure(call: &Call, pod: &Netlink, link: &Link, plan: &CniResult) -> Result<()> {
    let has_v6 = plan.ips.iter().any(|ip| ip.address.is_ipv6());
    let ifname = call.ifname.as_str();
    call.pod()?.run(|| -> Result<()> {
        let v6 = |leaf| sysctl::interface(Family::V6, ifname, leaf);
        // The IPAM plugin knows that nobody else has the addresses: no second is spent asking.
        settle(&v6("accept_dad"), "0");
        settle(&v6("keep_addr_on_down"), "1");
        // Neighbours hear at once who has the address now.
        settle(&v6("ndisc_notify"), "1");
        settle(&sysctl::interface(Family::V4, ifname, "arp_notify"), "1");
        for name in ["lo", ifname].iter().filter(|_| has_v6) {
            let key = sysctl::interface(Family::V6, name, "disable_ipv6");
            if sysctl::read(&key).is_ok_and(|value| value != "0") {
                sysctl::write(&key, "0")?;
            }
        }
        Ok(())
    })??;
    for ip in &plan.ips {
        pod.add_address(link.index, ip.address, false)?;
    }
    pod.set_up(link.index)?;
    for route in &plan.routes {
        match pod.append_route(&report::kernel_route(route, &plan.ips, link.index)) {
            // The very same route came with an address.
            Err(e) if e.is_exists() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Sets what makes things better and is not everywhere: kernels without IPv6 have none of it.
fn settle(key: &str, value: &str) {
    match sysctl::write(key, value) {
        Err(e) if e.is_not_found() => {}
        other => log("going on", other),
    }
}
