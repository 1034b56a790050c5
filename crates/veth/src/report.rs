//! Links and routes of the kernel in the terms of results, and back.

use cni_plugin::verify::{self, Found};
use cni_types::{Interface, IpConfig, Route};
use netlink::{Address, Link};

/// A link as ADD reports it, in the namespace of path `sandbox`, or on the node where that is
/// empty.
pub fn interface(link: &Link, sandbox: &str) -> Interface {
    Interface {
        name: link.name.clone(),
        mac: mac(link),
        mtu: Some(link.mtu),
        sandbox: sandbox.to_owned(),
        ..Interface::default()
    }
}

/// A link with its addresses, for CHECK.
pub fn found(link: &Link, addresses: &[Address]) -> Found {
    Found {
        mac: mac(link),
        mtu: link.mtu,
        up: link.up,
        addresses: addresses.iter().map(|address| address.network).collect(),
    }
}

fn mac(link: &Link) -> String {
    link.mac.map(|mac| mac.to_string()).unwrap_or_default()
}

/// A route of the kernel as a result has it.
pub fn route(route: &netlink::Route) -> Route {
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

/// A route of a result for the kernel, out of link `link`; a next hop that it leaves open is the
/// gateway of the address in `ips` of its family.
pub fn kernel_route(route: &Route, ips: &[IpConfig], link: u32) -> netlink::Route {
    netlink::Route {
        gateway: verify::next_hop(ips, route),
        link: Some(link),
        scope: route.scope,
        table: route.table,
        priority: route.priority,
        mtu: route.mtu,
        advmss: route.advmss,
        ..netlink::Route::to(route.dst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_comes_back_from_the_kernel_as_it_was() {
        let given = Route {
            dst: "10.9.0.0/16".parse().expect("network"),
            gw: None,
            mtu: Some(1400),
            advmss: Some(1360),
            priority: Some(7),
            table: Some(100),
            scope: Some(0),
        };
        let ip = IpConfig {
            interface: None,
            address: "10.1.0.5/16".parse().expect("address"),
            gateway: "10.1.0.1".parse().ok(),
        };
        let made = kernel_route(&given, &[ip], 3);
        assert_eq!((made.link, made.onlink), (Some(3), false));
        let wanted = Route { gw: "10.1.0.1".parse().ok(), ..given };
        assert_eq!(route(&made), wanted);
    }
}
