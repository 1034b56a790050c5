//! CHECK and STATUS: the kernel compared with the plan, and what ADD would need.

use crate::apply::masquerade_owner;
use crate::config::Config;
use crate::plan::Plan;
use cni_plugin::verify::{self, Found, drift};
use cni_plugin::{Call, NodeCall, ipam};
use cni_types::{CniResult, Code, Error, Result, Route};
use ipnetwork::IpNetwork;
use netfilter::masquerade::{self, Masquerade};
use netlink::{Kind, Link, Netlink, RouteFilter};
use serde_json::Value;

/// Compares the attachment with the result of its ADD.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf)?;
    let result = call.prev_result()?;
    ipam::check(call)?;
    let plan = own_plan(call, &config, result)?;
    let node = Netlink::open()?;
    let inside = Netlink::open_in(call.pod()?)?;
    let pod = check_pod(&inside, call, result, &plan)?;
    check_node(&node, result, &pod, &plan)?;
    match config.masquerade {
        None => Ok(()),
        Some(backend) => {
            let (owner, addresses) = (masquerade_owner(call), plan.addresses());
            masquerade::check(&Masquerade { backend, owner, addresses: &addresses })
        }
    }
}

/// What ADD must have made, from the part of the result that is about the pod's interface.
fn own_plan(call: &Call, config: &Config, result: &CniResult) -> Result<Plan> {
    let (index, _) = verify::reported(result, call.ifname.as_str(), true)?;
    let mut own = CniResult::default();
    own.ips.extend(result.ips.iter().filter(|ip| ip.interface == Some(index)).cloned());
    Plan::new(config, &own)
}

fn found(netlink: &Netlink, link: &Link) -> Result<Found> {
    Ok(Found {
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: link.mtu,
        up: link.up,
        addresses: netlink.addresses(link.index)?.iter().map(|a| a.network).collect(),
    })
}

fn check_pod(inside: &Netlink, call: &Call, result: &CniResult, plan: &Plan) -> Result<Link> {
    let ifname = call.ifname.as_str();
    let subject = format!("interface {ifname}");
    let (index, reported) = verify::reported(result, ifname, true)?;
    if reported.sandbox != call.netns_path {
        let cause = format!("ADD reported it in {}, not {}", reported.sandbox, call.netns_path);
        return Err(drift(subject, cause));
    }
    let Some(link) = inside.link_by_name(ifname)? else { return Err(drift(subject, "is gone")) };
    if link.kind != Kind::Veth {
        return Err(drift(subject, format!("is now a {}", link.kind)));
    }
    let state = found(inside, &link)?;
    verify::interface(reported, Some(&state))?;
    verify::addresses(result, index, &state.addresses)?;
    let routes = inside.routes(RouteFilter { link: Some(link.index), table: None })?;
    let reported: Vec<_> = routes.iter().map(reported_route).collect();
    verify::routes(result, &reported)?;
    has_routes(&plan.pod_routes(link.index), &routes)?;
    Ok(link)
}

fn reported_route(route: &netlink::Route) -> Route {
    Route {
        dst: route.dst,
        gw: route.gateway,
        mtu: route.mtu,
        advmss: route.advmss,
        priority: route.priority,
        table: route.table,
        scope: route.scope,
    }
}

fn has_routes(wanted: &[netlink::Route], found: &[netlink::Route]) -> Result<()> {
    for want in wanted {
        let there = found
            .iter()
            .any(|f| f.dst == want.dst && f.gateway == want.gateway && f.link == want.link);
        if !there {
            let via = want.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
            return Err(drift(format!("route {}{via}", want.dst), "is gone or was changed"));
        }
    }
    Ok(())
}

/// The other end has the gateways' addresses and leads to the pod, and the node forwards.
fn check_node(node: &Netlink, result: &CniResult, pod: &Link, plan: &Plan) -> Result<()> {
    let of_pod = format!("node's end of the pod's interface {}", pod.name);
    let link = pod.peer.map(|index| node.link_by_index(index)).transpose()?.flatten();
    let link = link.filter(|link| link.kind == Kind::Veth && link.peer == Some(pod.index));
    let Some(link) = link else { return Err(drift(of_pod, "is not on this node")) };
    let (_, reported) = verify::reported(result, &link.name, false)?;
    let state = found(node, &link)?;
    verify::interface(reported, Some(&state))?;
    for address in plan.node_addresses() {
        if !state.addresses.contains(&address) {
            return Err(drift(format!("gateway address {address} on {}", link.name), "is gone"));
        }
    }
    let routes = node.routes(RouteFilter { link: Some(link.index), table: None })?;
    has_routes(&plan.node_routes(link.index), &routes)?;
    for key in plan.forwarding() {
        if sysctl::read(key)? == "0" {
            return Err(drift(format!("sysctl {key}"), "is 0: the node does not forward"));
        }
    }
    Ok(())
}

/// Tells whether ADD can be served.
pub(crate) fn status(call: &NodeCall) -> Result<()> {
    let unavailable = |e: Error| Error { code: Code::NotAvailable, ..e };
    let config = Config::read(&call.conf).map_err(unavailable)?;
    ipam::status(call)?;
    if let Some(backend) = config.masquerade {
        let ipam = call.conf.document.get("ipam");
        masquerade::probe(backend, ipam.is_some_and(names_v6))?;
    }
    Netlink::open().map(drop).map_err(|e| unavailable(e.into()))
}

/// Whether an IPAM configuration speaks of an IPv6 network anywhere: only its own plugin can read
/// it, but an IPv6 network is one for any of them.
fn names_v6(value: &Value) -> bool {
    match value {
        Value::String(text) => text.parse::<IpNetwork>().is_ok_and(|net| net.is_ipv6()),
        Value::Array(list) => list.iter().any(names_v6),
        Value::Object(map) => map.values().any(names_v6),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ipv6_is_found_at_any_depth() {
        let ranges = json!({"ranges": [[{"subnet": "10.0.0.0/8"}], [{"subnet": "fd00::/64"}]]});
        assert!(names_v6(&ranges));
        assert!(names_v6(&json!({"addresses": [{"address": "fd00::5/64"}]})));
        assert!(!names_v6(&json!({"subnet": "10.0.0.0/8", "type": "x", "n": 1})));
    }

    #[test]
    fn a_missing_route_is_named() {
        let route = netlink::Route {
            gateway: "10.0.0.1".parse().ok(),
            ..netlink::Route::to("10.0.0.0/8".parse().expect("net"))
        };
        has_routes(std::slice::from_ref(&route), std::slice::from_ref(&route)).expect("there");
        let error = has_routes(&[route], &[]).expect_err("gone");
        assert_eq!(error.code, Code::Drift);
        assert!(error.msg.starts_with("route 10.0.0.0/8 via 10.0.0.1"), "{error}");
    }
}
