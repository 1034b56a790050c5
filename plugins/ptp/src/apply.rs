//! ADD: the plan made real.

use crate::config::Config;
use crate::plan::{Plan, subnet};
use cni_plugin::{Call, Undo, ipam, log};
use cni_types::{CniResult, Result};
use netfilter::masquerade::{self, Masquerade, Search};
use netlink::{Link, Netlink};
use veth::report::interface;
use veth::{Wish, wait_for_carrier};

/// Makes the attachment. The IPAM plugin starts while the links are made; it begins its work only
/// when the pair is there, as an ADD that fails because the attachment exists already must not
/// touch that one's addresses.
///
/// Undo runs in the reverse order of the making: rules, links (with them all addresses and
/// routes), then the lease.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf)?;
    let prepared = ipam::prepare_add(call)?;
    let node = Netlink::open()?;
    let node_link = veth::make(&node, call, &Wish { mtu: config.mtu, ..Wish::default() })?;
    let links = Undo::new(|| log("undoing ADD", node.delete_link(node_link.index)));
    let pending = prepared.begin()?;
    let pod = Netlink::open_in(call.pod()?)?;
    let pod_link = pod.expect_link(call.ifname.as_str())?;

    let lease = pending.finish()?;
    // Declared behind the lease, the links are undone before it: a released address is unused.
    let links = links;
    let plan = Plan::new(&config, lease.result())?;
    for key in plan.forwarding() {
        sysctl::write(key, "1")?;
    }
    configure_node(&node, &node_link, &plan)?;
    configure_pod(&pod, &pod_link, call, &plan)?;
    let subject = format!("link {}", node_link.name);
    let node_link = wait_for_carrier(&node, node_link.index, &subject)?;
    let rules = Undo::new(|| log("undoing ADD", drop_masquerade(call, &config)));
    if let Some(backend) = config.masquerade {
        let (owner, addresses) = (masquerade_owner(call), plan.addresses());
        masquerade::setup(&Masquerade { backend, owner, addresses: &addresses })?;
    }
    rules.keep();
    links.keep();
    let _kept = lease.keep();
    let interfaces = vec![interface(&node_link, ""), interface(&pod_link, &call.netns_path)];
    Ok(CniResult { interfaces, ips: plan.ips, routes: plan.routes, dns: plan.dns })
}

/// Gives the pod its addresses and routes.
///
/// The routes to its subnets that come with the addresses are taken away: neighbours in the
/// subnet are behind the gateway, not on the link.
fn configure_pod(pod: &Netlink, link: &Link, call: &Call, plan: &Plan) -> Result<()> {
    pod.set_up(link.index)?;
    for address in plan.addresses() {
        match pod.add_address(link.index, address, false) {
            Err(e) if address.is_ipv6() && e.is_denied() => {
                enable_v6(call)?;
                pod.add_address(link.index, address, false)?;
            }
            other => other?,
        }
        let connected =
            netlink::Route { link: Some(link.index), ..netlink::Route::to(subnet(address)) };
        pod.delete_route(&connected)?;
    }
    for route in plan.pod_routes(link.index) {
        match pod.append_route(&route) {
            // Two addresses share a gateway or a subnet.
            Err(e) if e.is_exists() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Turns IPv6 on where the pod was made without it, on its loopback interface too.
fn enable_v6(call: &Call) -> Result<()> {
    let ifname = call.ifname.as_str();
    call.pod()?.run(|| -> Result<()> {
        for name in ["lo", ifname] {
            sysctl::write(&sysctl::interface(sysctl::Family::V6, name, "disable_ipv6"), "0")?;
        }
        Ok(())
    })?
}

/// Gives the node's end its addresses, and the node its routes to the pod.
///
/// The node asks for the pod's hardware address from its own link-local address. The kernel would
/// make that only when the link has a carrier, and then look for a duplicate for a second or two,
/// during which the pod is not reached over IPv6; so it is given, the same one, at once.
fn configure_node(node: &Netlink, link: &Link, plan: &Plan) -> Result<()> {
    node.set_up(link.index)?;
    if let Some(mac) = link.mac.filter(|_| plan.has_v6()) {
        node.add_address(link.index, mac.link_local(), false)?;
    }
    for address in plan.node_addresses() {
        node.add_address(link.index, address, false)?;
    }
    for route in plan.node_routes(link.index) {
        // One that is there leads to a pod that had the address before.
        node.replace_route(&route)?;
    }
    Ok(())
}

/// Whose masquerade rules.
pub(crate) fn masquerade_owner(call: &Call) -> masquerade::Owner<'_> {
    masquerade::Owner {
        network: call.conf.name.as_str(),
        container_id: call.container_id.as_str(),
        ifname: call.ifname.as_str(),
    }
}

fn drop_masquerade(call: &Call, config: &Config) -> Result<()> {
    match config.masquerade {
        Some(_) => masquerade::teardown(&masquerade_owner(call), Search::Recorded),
        None => Ok(()),
    }
}
