//! CHECK and STATUS: the kernel compared with the plan, and what ADD would need.

use crate::apply::masquerade_owner;
use crate::config::Config;
use crate::plan::Plan;
use cni_plugin::verify::{self, drift};
use cni_plugin::{Call, NodeCall, ipam};
use cni_types::{CniResult, Code, Error, Result};
use netfilter::masquerade::{self, Masquerade};
use netlink::{Kind, Link, Netlink, RouteFilter};
use veth::report::{self, found};

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

fn check_pod(inside: &Netlink, call: &Call, result: &CniResult, plan: &Plan) -> Result<Link> {
    let ifname = call.ifname.as_str();
    let subject = format!("interface {ifname}");
    let (index, reported) = verify::reported_in(result, ifname, &call.netns_path)?;
    let Some(link) = inside.link_by_name(ifname)? else { return Err(drift(subject, "is gone")) };
    if link.kind != Kind::Veth {
        return Err(drift(subject, format!("is now a {}", link.kind)));
    }
    let state = found(&link, &inside.addresses(link.index)?);
    verify::interface(reported, Some(&state))?;
    verify::addresses(result, index, &state.addresses)?;
    let routes = inside.routes(RouteFilter { link: Some(link.index), table: None })?;
    let reported: Vec<_> = routes.iter().map(report::route).collect();
    verify::routes(result, &reported)?;
    has_routes(&plan.pod_routes(link.index), &routes)?;
    Ok(link)
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
    let Some(link) = veth::other_end(node, pod)? else {
        return Err(drift(of_pod, "is not on this node"));
    };
    let (_, reported) = verify::reported(result, &link.name, false)?;
    let state = found(&link, &node.addresses(link.index)?);
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
        masquerade::probe(backend, ipam::names_v6(&call.conf))?;
    }
    Netlink::open().map(drop).map_err(|e| unavailable(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
