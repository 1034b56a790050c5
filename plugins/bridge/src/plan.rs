//! The wish: what the pod and the bridge shall have, from the configuration and the lease.

use crate::config::{Config, Gateway};
use cni_types::{CniResult, Dns, IpConfig, Route};
use ipnetwork::IpNetwork;
use std::net::IpAddr;
use veth::report;

/// Where the pod's interface is in the list of interfaces: after the bridge and the port.
pub(crate) const POD_INTERFACE: usize = 2;
/// The main routing table.
const MAIN: u32 = 254;

/// What shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The pod's addresses, each with its gateway, as ADD reports them.
    pub(crate) ips: Vec<IpConfig>,
    /// The pod's routes, as ADD reports them.
    pub(crate) routes: Vec<Route>,
    /// Resolver settings, as ADD reports them.
    pub(crate) dns: Dns,
    /// Addresses of the bridge, or of the bridge's link in the VLAN.
    pub(crate) gateways: Vec<IpNetwork>,
}

impl Plan {
    /// What follows from the lease.
    pub(crate) fn new(config: &Config, lease: &CniResult) -> Plan {
        let mut ips = lease.ips.clone();
        for ip in &mut ips {
            ip.interface = Some(POD_INTERFACE);
            if ip.gateway.is_none() && config.gateway != Gateway::None {
                ip.gateway = first_host(ip.address);
            }
        }
        let mut routes: Vec<Route> = Vec::with_capacity(lease.routes.len() + 2);
        for route in &lease.routes {
            if !routes.contains(route) {
                routes.push(route.clone());
            }
        }
        if config.gateway == Gateway::DefaultRoute {
            routes.extend(default_routes(&ips, &lease.routes));
        }
        let mut gateways = Vec::new();
        if config.gateway != Gateway::None {
            for ip in &ips {
                let gateway = ip.gateway.and_then(|g| IpNetwork::new(g, ip.address.prefix()).ok());
                gateways.extend(gateway.filter(|g| !gateways.contains(g)));
            }
        }
        let dns = if config.dns.is_empty() { lease.dns.clone() } else { config.dns.clone() };
        Plan { ips, routes, dns, gateways }
    }

    /// The pod's addresses.
    pub(crate) fn addresses(&self) -> Vec<IpNetwork> {
        self.ips.iter().map(|ip| ip.address).collect()
    }

    /// Whether the pod has an IPv6 address.
    pub(crate) fn has_v6(&self) -> bool {
        self.ips.iter().any(|ip| ip.address.is_ipv6())
    }

    /// The pod's routes for the kernel, with next hops filled in, out of link `link`.
    pub(crate) fn kernel_routes(&self, link: u32) -> Vec<netlink::Route> {
        self.routes.iter().map(|route| report::kernel_route(route, &self.ips, link)).collect()
    }
}

/// A default route for each family that has an address and no such route in the main table yet.
///
/// A default route that the IPAM plugin gives, with or without a next hop, is the one: asking for
/// both is the most common way to write a configuration.
fn default_routes(ips: &[IpConfig], given: &[Route]) -> Vec<Route> {
    let mut added: Vec<Route> = Vec::new();
    for ip in ips {
        let same = |route: &Route| {
            route.is_default()
                && route.dst.is_ipv4() == ip.address.is_ipv4()
                && route.table.is_none_or(|table| table == MAIN)
        };
        if given.iter().chain(&added).any(same) {
            continue;
        }
        let any = if ip.address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        added.extend(any.parse().ok().map(|dst| Route::new(dst, ip.gateway)));
    }
    added
}

/// The first address of a subnet after its own.
fn first_host(address: IpNetwork) -> Option<IpAddr> {
    match address {
        IpNetwork::V4(v4) => u32::from(v4.network()).checked_add(1).map(|n| IpAddr::V4(n.into())),
        IpNetwork::V6(v6) => u128::from(v6.network()).checked_add(1).map(|n| IpAddr::V6(n.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::{Args, NetConf};
    use serde_json::{Value, json};

    fn config(mut document: Value) -> Config {
        document["name"] = json!("net");
        document["type"] = json!("bridge");
        let conf = NetConf::from_value(document).expect("conf");
        Config::read(&conf, &Args::default()).expect("config")
    }

    fn lease(document: Value) -> CniResult {
        CniResult::from_value(&document, cni_types::Version::V1_1_0).expect("lease")
    }

    fn dual() -> CniResult {
        lease(json!({
            "ips": [{"address": "10.1.0.5/16"}, {"address": "fd00::5/64", "gateway": "fd00::fe"}],
            "dns": {"nameservers": ["10.1.0.2"]}
        }))
    }

    fn text(routes: &[netlink::Route]) -> Vec<String> {
        let hop = |r: &netlink::Route| r.gateway.map_or("-".to_owned(), |g| g.to_string());
        routes.iter().map(|r| format!("{} {}", r.dst, hop(r))).collect()
    }

    #[test]
    fn without_a_gateway_nothing_is_added() {
        let plan = Plan::new(&config(json!({})), &dual());
        assert_eq!(plan.ips[0].gateway, None);
        assert_eq!(plan.ips[0].interface, Some(POD_INTERFACE));
        assert_eq!((plan.routes.len(), plan.gateways.len()), (0, 0));
        assert_eq!(plan.dns.nameservers, ["10.1.0.2"]);
        assert!(plan.has_v6());
    }

    #[test]
    fn the_gateway_is_the_first_address_unless_given() {
        let plan = Plan::new(&config(json!({"isGateway": true})), &dual());
        let gateways: Vec<_> = plan.gateways.iter().map(ToString::to_string).collect();
        assert_eq!(gateways, ["10.1.0.1/16", "fd00::fe/64"]);
        assert_eq!(plan.routes, []);
    }

    #[test]
    fn a_default_route_is_added_once_for_each_family() {
        let conf = config(json!({"isDefaultGateway": true, "dns": {"domain": "x"}}));
        let plan = Plan::new(&conf, &dual());
        assert_eq!(text(&plan.kernel_routes(3)), ["0.0.0.0/0 10.1.0.1", "::/0 fd00::fe"]);
        assert_eq!(plan.dns, Dns { domain: "x".into(), ..Dns::default() });
    }

    #[test]
    fn a_default_route_of_the_ipam_plugin_is_the_one() {
        let conf = config(json!({"isDefaultGateway": true}));
        for (given, want) in [
            (json!([{"dst": "0.0.0.0/0"}]), "0.0.0.0/0 10.1.0.1"),
            (json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.9"}]), "0.0.0.0/0 10.1.0.9"),
            (json!([{"dst": "0.0.0.0/0"}, {"dst": "0.0.0.0/0"}]), "0.0.0.0/0 10.1.0.1"),
        ] {
            let lease = lease(json!({"ips": [{"address": "10.1.0.5/16"}], "routes": given}));
            let plan = Plan::new(&conf, &lease);
            assert_eq!(text(&plan.kernel_routes(3)), [want]);
        }
        let other = lease(json!({"ips": [{"address": "10.1.0.5/16"}],
            "routes": [{"dst": "0.0.0.0/0", "table": 100}]}));
        assert_eq!(Plan::new(&conf, &other).routes.len(), 2);
    }

    #[test]
    fn attributes_of_routes_reach_the_kernel() {
        let lease = lease(json!({"ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"}],
            "routes": [{"dst": "10.9.0.0/16", "mtu": 1400, "advmss": 1360, "priority": 7,
                        "table": 99},
                       {"dst": "10.8.0.0/16", "scope": 253}]}));
        let routes = Plan::new(&config(json!({})), &lease).kernel_routes(3);
        assert_eq!(
            routes[0],
            netlink::Route {
                gateway: "10.1.0.1".parse().ok(),
                link: Some(3),
                mtu: Some(1400),
                advmss: Some(1360),
                priority: Some(7),
                table: Some(99),
                ..netlink::Route::to("10.9.0.0/16".parse().expect("net"))
            }
        );
        assert_eq!((routes[1].gateway, routes[1].scope), (None, Some(253)));
    }
}
