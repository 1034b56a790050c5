//! Which routes an interface must have after it went from one routing table to another.
//!
//! The kernel sets an interface down and up when it joins or leaves a VRF: its routes are gone
//! then, and the connected ones come back in the new table, also those that somebody had deleted
//! on purpose.

use cni_types::CniResult;
use ipnetwork::IpNetwork;
use netlink::Route;
use std::net::IpAddr;
use veth::report;

/// The table of routes that name none.
pub(crate) const MAIN: u32 = 254;

/// The routes that are wished for, of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    wanted: Vec<Route>,
    table: u32,
    /// Addresses that the interface did not have before: the routes to their networks are new too.
    regained: Vec<IpNetwork>,
}

impl Routes {
    /// The routes `found`, where those of table `from` are to be in `to`; others stay in theirs.
    pub(crate) fn moved(found: &[Route], from: u32, to: u32) -> Routes {
        let keep = found.iter().filter(|route| !is_the_kernels(route));
        let wanted = keep.map(|route| match table(route) {
            own if own == from => Route { table: Some(to), ..*route },
            _ => *route,
        });
        Routes { wanted: wanted.collect(), table: to, regained: Vec::new() }
    }

    /// These, and those of an earlier plugin's result to destinations that none of these has: an
    /// ADD that was killed half way has lost what it found.
    #[must_use]
    pub(crate) fn with_result(
        mut self,
        result: &CniResult,
        regained: &[IpNetwork],
        link: u32,
    ) -> Routes {
        self.regained = regained.to_vec();
        for route in &result.routes {
            let reported = report::kernel_route(route, &result.ips, link);
            let reported = match table(&reported) {
                MAIN => Route { table: Some(self.table), ..reported },
                _ => reported,
            };
            if !self.wanted.iter().any(|wanted| network(wanted) == network(&reported)) {
                self.wanted.push(reported);
            }
        }
        self
    }

    /// What is not among `now`, in an order in which it can be added: a gateway is reached by a
    /// route without one.
    pub(crate) fn missing(&self, now: &[Route]) -> Vec<Route> {
        let there = |wanted: &Route| now.iter().any(|found| stands_for(found, wanted));
        let mut missing: Vec<_> =
            self.wanted.iter().filter(|wanted| !there(wanted)).copied().collect();
        missing.sort_by_key(|route| route.gateway.is_some());
        missing
    }

    /// What is among `now` in the new table and was not there before.
    pub(crate) fn surplus(&self, now: &[Route]) -> Vec<Route> {
        let is_known = |found: &Route| {
            is_the_kernels(found)
                || self.wanted.iter().any(|wanted| stands_for(found, wanted))
                || self.regained.iter().any(|own| is_connected(found, own))
        };
        let in_table = now.iter().filter(|found| table(found) == self.table);
        in_table.filter(|found| !is_known(found)).copied().collect()
    }
}

/// Whether the kernel alone makes and takes the route, when it likes: those of link-local
/// addresses.
fn is_the_kernels(route: &Route) -> bool {
    match route.dst.ip() {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_multicast(),
    }
}

fn table(route: &Route) -> u32 {
    route.table.unwrap_or(MAIN)
}

fn network(route: &Route) -> (IpAddr, u8, u32) {
    (route.dst.network(), route.dst.prefix(), table(route))
}

fn is_connected(route: &Route, address: &IpNetwork) -> bool {
    let to = (route.dst.network(), route.dst.prefix());
    route.gateway.is_none() && to == (address.network(), address.prefix())
}

fn stands_for(found: &Route, wanted: &Route) -> bool {
    network(found) == network(wanted)
        && found.gateway == wanted.gateway
        && (wanted.priority.is_none() || found.priority == wanted.priority)
}

/// The lowest table that none of `taken` is, nor one of the kernel's own.
pub(crate) fn free_table(taken: &[u32]) -> Option<u32> {
    (1..u32::MAX).find(|table| !(253..=255).contains(table) && !taken.contains(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::IpConfig;

    fn route(dst: &str, gateway: Option<&str>, table: u32) -> Route {
        let gateway = gateway.map(|ip| ip.parse().expect("address"));
        let to = Route::to(dst.parse().expect("network"));
        Route { gateway, table: Some(table), link: Some(3), ..to }
    }

    #[test]
    fn routes_go_with_their_table_and_those_of_others_stay() {
        let before = [
            route("0.0.0.0/0", Some("10.1.0.1"), MAIN),
            route("10.1.0.0/16", None, MAIN),
            route("fe80::/64", None, MAIN),
            route("10.9.0.0/16", Some("10.1.0.9"), 100),
        ];
        let routes = Routes::moved(&before, MAIN, 7);
        let connected = route("10.1.0.0/16", None, 7);
        let kernels = route("fe80::/64", None, 7);
        let missing = routes.missing(&[connected, kernels]);
        let default = route("0.0.0.0/0", Some("10.1.0.1"), 7);
        assert_eq!(missing, [default, route("10.9.0.0/16", Some("10.1.0.9"), 100)]);
        assert_eq!(routes.surplus(&[connected, kernels, default]), []);
        // Nothing has come back: what has no gateway is first.
        assert_eq!(routes.missing(&[])[0], connected);
    }

    #[test]
    fn a_connected_route_that_was_deleted_does_not_come_back() {
        let before =
            [route("10.1.0.1/32", None, MAIN), route("10.1.0.0/16", Some("10.1.0.1"), MAIN)];
        let routes = Routes::moved(&before, MAIN, 7);
        let connected = route("10.1.0.0/16", None, 7);
        assert_eq!(routes.surplus(&[connected]), [connected]);
        assert_eq!(routes.missing(&[connected]).len(), 2);
    }

    #[test]
    fn the_result_tells_what_a_killed_add_has_lost() {
        let result = CniResult {
            ips: vec![IpConfig {
                interface: Some(0),
                address: "10.1.0.5/16".parse().expect("address"),
                gateway: "10.1.0.1".parse().ok(),
            }],
            routes: vec![cni_types::Route::new("0.0.0.0/0".parse().expect("network"), None)],
            ..CniResult::default()
        };
        let own = result.ips[0].address;
        let lost = Routes::moved(&[], MAIN, 7).with_result(&result, &[own], 3);
        assert_eq!(lost.missing(&[]), [route("0.0.0.0/0", Some("10.1.0.1"), 7)]);
        // The address comes back with the way to its network.
        let connected = route("10.1.0.0/16", None, 7);
        assert_eq!(lost.surplus(&[connected]), []);
        // A route to there by another way is left as it is.
        let other = route("0.0.0.0/0", Some("10.1.0.9"), 7);
        let kept = Routes::moved(&[other], 7, 7).with_result(&result, &[], 3);
        assert_eq!(kept.missing(&[other]), []);
        assert_eq!(kept.surplus(&[connected]), [connected]);
    }

    #[test]
    fn the_lowest_free_table_is_taken() {
        assert_eq!(free_table(&[]), Some(1));
        assert_eq!(free_table(&[2, 1]), Some(3));
        let first: Vec<_> = (1..253).collect();
        assert_eq!(free_table(&first), Some(256));
    }
}
