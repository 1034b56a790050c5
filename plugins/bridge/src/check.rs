//! CHECK and STATUS: the kernel compared with the plan, and what ADD would need.

use crate::apply::rule_owner;
use crate::config::{Config, Gateway};
use crate::gateway;
use crate::plan::Plan;
use cni_plugin::verify::{self, drift};
use cni_plugin::{Call, NodeCall, ipam};
use cni_types::{CniResult, Code, Error, Interface, Result};
use ipnetwork::IpNetwork;
use netfilter::macspoof::{self, MacSpoof};
use netfilter::masquerade::{self, Masquerade};
use netlink::{Kind, Link, Netlink, RouteFilter, VlanRange};
use veth::report::{self, found};

/// Compares the attachment with the result of its ADD.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf, &call.args)?;
    let result = call.prev_result()?;
    ipam::check(call)?;
    let node = Netlink::open()?;
    let bridge = check_bridge(&node, &config, result)?;
    let inside = Netlink::open_in(call.pod()?)?;
    let pod = check_pod(&inside, call, &config, result)?;
    let port = check_port(&node, &config, result, (&bridge, &pod))?;
    if let Some(mac) = pod.mac.filter(|_| config.mac_check) {
        macspoof::check(&MacSpoof { owner: rule_owner(call), port: &port.name, mac: mac.0 })?;
    }
    if !config.layer3 {
        return Ok(());
    }
    check_gateway(&node, &config, result, &bridge)?;
    match config.masquerade {
        None => Ok(()),
        Some(backend) => {
            let addresses: Vec<_> = own_addresses(call, result);
            let owner = rule_owner(call);
            masquerade::check(&Masquerade { backend, owner, addresses: &addresses })
        }
    }
}

/// The addresses of the result on the pod's interface.
fn own_addresses(call: &Call, result: &CniResult) -> Vec<IpNetwork> {
    let own = verify::reported(result, call.ifname.as_str(), true).ok().map(|(index, _)| index);
    result.ips.iter().filter(|ip| ip.interface == own).map(|ip| ip.address).collect()
}

fn check_bridge(node: &Netlink, config: &Config, result: &CniResult) -> Result<Link> {
    let name = &config.bridge;
    let (_, reported) = verify::reported(result, name, false)?;
    let subject = format!("bridge {name}");
    let Some(bridge) = node.link_by_name(name)? else { return Err(drift(subject, "is gone")) };
    if bridge.kind != Kind::Bridge {
        return Err(drift(subject, format!("is now a {}", bridge.kind)));
    }
    // Without an address of its own a bridge changes its hardware address as ports come and go,
    // and its MTU follows its ports' in any case.
    let wanted = Interface {
        mac: if config.gateway == Gateway::None { String::new() } else { reported.mac.clone() },
        mtu: None,
        ..reported.clone()
    };
    verify::interface(&wanted, Some(&found(&bridge, &[])))?;
    if bridge.promiscuous != config.promiscuous {
        let is = if bridge.promiscuous { "is" } else { "is not" };
        return Err(drift(subject, format!("{is} promiscuous, against promiscMode")));
    }
    if config.vlans.is_some() && bridge.bridge.is_none_or(|info| !info.vlan_filtering) {
        return Err(drift(subject, "does not keep VLANs apart any more"));
    }
    Ok(bridge)
}

fn check_pod(inside: &Netlink, call: &Call, config: &Config, result: &CniResult) -> Result<Link> {
    let ifname = call.ifname.as_str();
    let (index, reported) = verify::reported_in(result, ifname, &call.netns_path)?;
    let link = inside.link_by_name(ifname)?;
    let addresses = match &link {
        Some(link) => inside.addresses(link.index)?,
        None => Vec::new(),
    };
    let mut state = link.as_ref().map(|link| found(link, &addresses));
    if let Some(state) = &mut state {
        // It was left down on purpose; whoever uses it may have set it up since.
        state.up |= !config.pod_up;
    }
    verify::interface(reported, state.as_ref())?;
    let link = link.ok_or_else(|| drift(format!("interface {ifname}"), "is gone"))?;
    if link.kind != Kind::Veth {
        return Err(drift(format!("interface {ifname}"), format!("is now a {}", link.kind)));
    }
    let networks: Vec<_> = addresses.iter().map(|address| address.network).collect();
    verify::addresses(result, index, &networks)?;
    if !result.routes.is_empty() {
        let filter = RouteFilter { link: Some(link.index), table: None };
        let routes: Vec<_> = inside.routes(filter)?.iter().map(report::route).collect();
        verify::routes(result, &routes)?;
    }
    Ok(link)
}

/// The other end of the pod's interface is a port of the bridge, with the settings of the
/// configuration.
fn check_port(
    node: &Netlink,
    config: &Config,
    result: &CniResult,
    (bridge, pod): (&Link, &Link),
) -> Result<Link> {
    let of_pod = format!("port of the pod's interface {}", pod.name);
    let Some(port) = veth::other_end(node, pod)? else {
        return Err(drift(of_pod, "is not on this node"));
    };
    let (_, reported) = verify::reported(result, &port.name, false)?;
    verify::interface(reported, Some(&found(&port, &[])))?;
    let subject = format!("port {}", port.name);
    if port.master != Some(bridge.index) {
        return Err(drift(subject, format!("is not on bridge {} any more", bridge.name)));
    }
    let flags = port.port.unwrap_or_default();
    for (key, is, wanted) in [
        ("hairpinMode", flags.hairpin, config.port.hairpin),
        ("portIsolation", flags.isolated, config.port.isolated),
    ] {
        if is != wanted {
            return Err(drift(subject, format!("{key} is {is}, the configuration says {wanted}")));
        }
    }
    if let Some(vlans) = &config.vlans {
        check_vlans(node, &subject, (port.index, bridge), (&vlans.members, vlans.keep_default))?;
    }
    Ok(port)
}

/// The port is in its VLANs, and out of the bridge's default one where ADD took it out. Other
/// VLANs that an administrator put it into are not judged.
fn check_vlans(
    node: &Netlink,
    subject: &str,
    (port, bridge): (u32, &Link),
    (members, keep_default): (&[VlanRange], bool),
) -> Result<()> {
    let present = node.vlans(port)?;
    let there = |wanted: &VlanRange| {
        (wanted.first..=wanted.last).all(|id| {
            present.iter().any(|p| {
                (p.first..=p.last).contains(&id)
                    && (p.pvid, p.untagged) == (wanted.pvid, wanted.untagged)
            })
        })
    };
    if let Some(lost) = members.iter().find(|range| !there(range)) {
        let range = match (lost.first, lost.last) {
            (first, last) if first == last => format!("VLAN {first}"),
            (first, last) => format!("VLANs {first} to {last}"),
        };
        return Err(drift(subject, format!("is not in {range} as configured")));
    }
    let left = gateway::default_to_leave(bridge, (members, keep_default));
    if let Some(id) = left.filter(|id| present.iter().any(|p| (p.first..=p.last).contains(id))) {
        return Err(drift(subject, format!("is in VLAN {id}, against preserveDefaultVlan")));
    }
    Ok(())
}

/// The gateway's addresses are where pods expect them, and the node forwards.
fn check_gateway(node: &Netlink, config: &Config, result: &CniResult, bridge: &Link) -> Result<()> {
    let plan = Plan::new(config, &CniResult { routes: Vec::new(), ..result.clone() });
    if plan.gateways.is_empty() {
        return Ok(());
    }
    let name = match config.vlan() {
        Some(id) => crate::config::gateway_link(&bridge.name, id),
        None => bridge.name.clone(),
    };
    let Some(link) = node.link_by_name(&name)? else {
        return Err(drift(format!("gateway interface {name}"), "is gone"));
    };
    if !link.up {
        return Err(drift(format!("gateway interface {name}"), "is down"));
    }
    if let (Some(vlans), Some(id), Some(port)) =
        (&config.vlans, config.vlan(), gateway::port_of(&link))
    {
        let wish = [VlanRange::access(id)];
        let subject = format!("port of gateway interface {name}");
        check_vlans(node, &subject, (port, bridge), (&wish, vlans.keep_default))?;
    }
    let addresses = node.addresses(link.index)?;
    for gateway in &plan.gateways {
        if !addresses.iter().any(|address| address.network == *gateway) {
            return Err(drift(format!("gateway address {gateway} on {name}"), "is gone"));
        }
        let key = if gateway.is_ipv4() { sysctl::IP_FORWARD } else { sysctl::IPV6_FORWARD };
        if sysctl::read(key)? == "0" {
            return Err(drift(format!("sysctl {key}"), "is 0: the node does not forward"));
        }
    }
    Ok(())
}

/// Tells whether ADD can be served.
pub(crate) fn status(call: &NodeCall) -> Result<()> {
    let unavailable = |e: Error| Error { code: Code::NotAvailable, ..e };
    let config = Config::of_network(&call.conf).map_err(unavailable)?;
    ipam::status(call)?;
    if let Some(backend) = config.masquerade {
        masquerade::probe(backend, ipam::names_v6(&call.conf))?;
    }
    if config.mac_check {
        macspoof::probe()?;
    }
    let node = Netlink::open().map_err(|e| unavailable(e.into()))?;
    let bridge = node.link_by_name(&config.bridge).map_err(|e| unavailable(e.into()))?;
    match bridge {
        None => Ok(()),
        Some(link) if link.kind != Kind::Bridge => Err(limited(gateway::not_a_bridge(&link).msg)
            .with_details("no pod can be added, and those that are there have lost the bridge")),
        Some(link) if !link.up => Err(limited(format!("bridge {}: is down", link.name))
            .with_details(format!("ip link set {} up, or add a pod", link.name))),
        Some(_) => Ok(()),
    }
}

fn limited(msg: String) -> Error {
    Error::new(Code::LimitedConnectivity, msg)
}
