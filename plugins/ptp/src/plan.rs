//! The wish: what the pod and the node shall have, from the configuration and the lease.

use crate::config::Config;
use cni_types::{CniResult, Code, Dns, Error, IpConfig, Result, Route};
use ipnetwork::IpNetwork;
use std::net::IpAddr;
use veth::report;

/// Where the pod's interface is in the list of interfaces: behind the node's.
pub(crate) const POD_INTERFACE: usize = 1;
/// `RT_SCOPE_LINK`.
const SCOPE_LINK: u8 = 253;
/// `RT_SCOPE_UNIVERSE`.
const SCOPE_UNIVERSE: u8 = 0;

/// What shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The pod's addresses, each with its gateway, as ADD reports them.
    pub(crate) ips: Vec<IpConfig>,
    /// The pod's further routes, as ADD reports them.
    pub(crate) routes: Vec<Route>,
    /// Resolver settings, as ADD reports them.
    pub(crate) dns: Dns,
}

impl Plan {
    /// What follows from the lease.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] when an address has no gateway, or a gateway or next hop is of the
    /// other family.
    pub(crate) fn new(config: &Config, lease: &CniResult) -> Result<Plan> {
        let mut ips = lease.ips.clone();
        for ip in &mut ips {
            ip.interface = Some(POD_INTERFACE);
            has_gateway(ip)?;
        }
        let mut routes: Vec<Route> = Vec::with_capacity(lease.routes.len());
        for route in &lease.routes {
            next_hop_fits(route)?;
            if !routes.contains(route) {
                routes.push(route.clone());
            }
        }
        let dns = if config.dns.is_empty() { lease.dns.clone() } else { config.dns.clone() };
        Ok(Plan { ips, routes, dns })
    }

    /// The pod's addresses.
    pub(crate) fn addresses(&self) -> Vec<IpNetwork> {
        self.ips.iter().map(|ip| ip.address).collect()
    }

    /// The pod's routes out of its interface `link`, in the order in which they can be added: to
    /// each gateway on the link, to each subnet through its gateway, and those of the lease.
    pub(crate) fn pod_routes(&self, link: u32) -> Vec<netlink::Route> {
        let mut routes = Vec::with_capacity(2 * self.ips.len() + self.routes.len());
        for (ip, gateway) in self.gateways() {
            routes.push(netlink::Route {
                link: Some(link),
                source: Some(ip.ip()),
                scope: Some(SCOPE_LINK),
                ..netlink::Route::to(IpNetwork::from(gateway))
            });
        }
        for (ip, gateway) in self.gateways().filter(|(ip, _)| !is_host(*ip)) {
            routes.push(netlink::Route {
                gateway: Some(gateway),
                link: Some(link),
                source: Some(ip.ip()),
                scope: Some(SCOPE_UNIVERSE),
                ..netlink::Route::to(subnet(ip))
            });
        }
        routes.extend(self.routes.iter().map(|route| self.leased_route(route, link)));
        routes
    }

    fn leased_route(&self, route: &Route, link: u32) -> netlink::Route {
        let made = report::kernel_route(route, &self.ips, link);
        let is_gateway = |ip: IpAddr| self.gateways().any(|(_, gateway)| gateway == ip);
        // Another next hop than a gateway is behind one, not on the link: the kernel would
        // refuse it, although with a subnet on the link it would have been fine.
        netlink::Route { onlink: made.gateway.is_some_and(|ip| !is_gateway(ip)), ..made }
    }

    /// Addresses of the node's interface: the gateways as host addresses, each once.
    pub(crate) fn node_addresses(&self) -> Vec<IpNetwork> {
        let mut addresses: Vec<IpNetwork> = Vec::with_capacity(self.ips.len());
        for (_, gateway) in self.gateways() {
            let gateway = IpNetwork::from(gateway);
            if !addresses.contains(&gateway) {
                addresses.push(gateway);
            }
        }
        addresses
    }

    /// The node's routes to the pod, out of its interface `link`.
    pub(crate) fn node_routes(&self, link: u32) -> Vec<netlink::Route> {
        self.ips
            .iter()
            .map(|ip| netlink::Route {
                link: Some(link),
                scope: Some(SCOPE_LINK),
                ..netlink::Route::to(IpNetwork::from(ip.address.ip()))
            })
            .collect()
    }

    /// Whether the pod has an IPv6 address.
    pub(crate) fn has_v6(&self) -> bool {
        self.ips.iter().any(|ip| ip.address.is_ipv6())
    }

    /// The sysctls by which the node forwards for the pod.
    pub(crate) fn forwarding(&self) -> Vec<&'static str> {
        let has = |v6: bool| self.ips.iter().any(|ip| ip.address.is_ipv6() == v6);
        let keys = [(false, sysctl::IP_FORWARD), (true, sysctl::IPV6_FORWARD)];
        keys.into_iter().filter(|(v6, _)| has(*v6)).map(|(_, key)| key).collect()
    }

    /// Each address with its gateway.
    fn gateways(&self) -> impl Iterator<Item = (IpNetwork, IpAddr)> + '_ {
        self.ips.iter().filter_map(|ip| Some((ip.address, ip.gateway?)))
    }
}

/// The kernel would take the first four bytes of an IPv6 next hop for an IPv4 one.
fn next_hop_fits(route: &Route) -> Result<()> {
    match route.gw {
        Some(gw) if gw.is_ipv4() != route.dst.is_ipv4() => Err(Error::new(
            Code::InvalidConfig,
            format!("ipam: next hop {gw} of route {} is of the other family", route.dst),
        )),
        _ => Ok(()),
    }
}

fn has_gateway(ip: &IpConfig) -> Result<()> {
    let address = ip.address;
    match ip.gateway {
        Some(gateway) if gateway.is_ipv4() == address.is_ipv4() => Ok(()),
        Some(gateway) => Err(Error::new(
            Code::InvalidConfig,
            format!("ipam: gateway {gateway} of address {address} is of the other family"),
        )),
        None => {
            Err(Error::new(Code::InvalidConfig, format!("ipam: address {address} has no gateway"))
                .with_details("a routed pod reaches everything through its gateway: configure one"))
        }
    }
}

/// Whether the network is a single address.
fn is_host(net: IpNetwork) -> bool {
    net == IpNetwork::from(net.ip())
}

/// The network without host bits.
pub(crate) fn subnet(net: IpNetwork) -> IpNetwork {
    IpNetwork::new(net.network(), net.prefix()).unwrap_or(net)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::Version;
    use serde_json::{Value, json};

    fn plan(lease: Value) -> Result<Plan> {
        let config = Config { masquerade: None, mtu: None, dns: Dns::default() };
        let lease = CniResult::from_value(&lease, Version::LATEST).expect("lease");
        Plan::new(&config, &lease)
    }

    fn dual() -> Plan {
        plan(json!({
            "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"},
                    {"address": "fd00::5/64", "gateway": "fd00::1"}],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "0.0.0.0/0"},
                       {"dst": "10.9.0.0/16", "gw": "10.1.0.9", "mtu": 1400},
                       {"dst": "10.8.0.0/16", "scope": 253}]
        }))
        .expect("plan")
    }

    fn text(routes: &[netlink::Route]) -> Vec<String> {
        routes
            .iter()
            .map(|r| {
                let mut text = r.dst.to_string();
                text += &r.gateway.map(|g| format!(" via {g}")).unwrap_or_default();
                text += &r.source.map(|s| format!(" src {s}")).unwrap_or_default();
                text += &r.scope.map(|s| format!(" scope {s}")).unwrap_or_default();
                text + if r.onlink { " onlink" } else { "" }
            })
            .collect()
    }

    #[test]
    fn everything_goes_through_the_gateway() {
        assert_eq!(
            text(&dual().pod_routes(7)),
            [
                "10.1.0.1/32 src 10.1.0.5 scope 253",
                "fd00::1/128 src fd00::5 scope 253",
                "10.1.0.0/16 via 10.1.0.1 src 10.1.0.5 scope 0",
                "fd00::/64 via fd00::1 src fd00::5 scope 0",
                "0.0.0.0/0 via 10.1.0.1",
                "10.9.0.0/16 via 10.1.0.9 onlink",
                "10.8.0.0/16 scope 253",
            ]
        );
        let routes = dual().pod_routes(7);
        assert!(routes.iter().all(|r| r.link == Some(7)));
        assert_eq!(routes[5].mtu, Some(1400));
        assert!(dual().ips.iter().all(|ip| ip.interface == Some(POD_INTERFACE)));
    }

    #[test]
    fn the_node_has_the_gateways_and_host_routes() {
        let plan = dual();
        let addresses: Vec<_> = plan.node_addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.1.0.1/32", "fd00::1/128"]);
        assert_eq!(text(&plan.node_routes(3)), ["10.1.0.5/32 scope 253", "fd00::5/128 scope 253"]);
        assert_eq!(plan.forwarding(), [sysctl::IP_FORWARD, sysctl::IPV6_FORWARD]);
        let two = plan_of_two();
        assert_eq!(two.node_addresses().len(), 1, "a shared gateway is one address");
        assert_eq!(two.forwarding(), [sysctl::IP_FORWARD]);
    }

    fn plan_of_two() -> Plan {
        plan(json!({"ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"},
                            {"address": "10.1.0.6/32", "gateway": "10.1.0.1"}]}))
        .expect("plan")
    }

    #[test]
    fn a_single_address_has_no_subnet_route() {
        let subnets = text(&plan_of_two().pod_routes(1));
        assert_eq!(subnets.iter().filter(|r| r.contains(" via ")).count(), 1, "{subnets:?}");
    }

    #[test]
    fn a_next_hop_is_of_its_routes_family() {
        let error = plan(json!({"ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"}],
            "routes": [{"dst": "10.9.0.0/16", "gw": "fd00::1"}]}))
        .expect_err("family");
        assert!(error.msg.contains("10.9.0.0/16"), "{error}");
    }

    #[test]
    fn an_address_needs_a_gateway_of_its_family() {
        for ip in [
            json!({"address": "10.1.0.5/16"}),
            json!({"address": "10.1.0.5/16", "gateway": "fd00::1"}),
        ] {
            let error = plan(json!({"ips": [ip]})).expect_err("gateway");
            assert_eq!(error.code, Code::InvalidConfig);
            assert!(error.msg.contains("10.1.0.5/16"), "{error}");
        }
    }
}
