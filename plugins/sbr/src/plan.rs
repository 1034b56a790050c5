//! What is wished, and the steps to it from what the pod has: no effects here.

use crate::config::Config;
use cni_types::{CniResult, Code, Error, Result};
use ipnetwork::IpNetwork;
use netlink::{PolicyRule, Route};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The table of routes that name none.
pub(crate) const MAIN: u32 = 254;
/// The first table that is taken; the reference plugin starts here too.
const FIRST_TABLE: u32 = 100;
/// The metric that the kernel gives to the IPv6 routes it makes itself.
const V6_METRIC: u32 = 256;

/// An address of the interface, whose packets are to leave by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The address, with the length of its subnet's prefix.
    pub(crate) address: IpNetwork,
    /// Where packets to other subnets go.
    pub(crate) gateway: Option<IpAddr>,
}

impl Source {
    /// What the rule asks for: the address alone.
    pub(crate) fn host(&self) -> IpNetwork {
        IpNetwork::from(self.address.ip())
    }

    fn is_of_family(&self, route: &Route) -> bool {
        route.dst.is_ipv4() == self.address.is_ipv4()
    }

    /// Whether packets from this address may take the route: it leads out of its subnet, or asks
    /// for no address.
    fn may_take(&self, route: &Route) -> bool {
        let is_near = |ip: Option<IpAddr>| ip.is_some_and(|ip| self.address.contains(ip));
        let is_open = route.source.is_none() && route.gateway.is_none();
        self.is_of_family(route) && (is_near(route.source) || is_near(route.gateway) || is_open)
    }

    /// Whether the route is that to the subnet.
    fn is_subnet(&self, route: &Route) -> bool {
        route.dst.network() == self.address.network()
            && route.dst.prefix() == self.address.prefix()
            && route.gateway.is_none()
    }

    fn subnet_route(&self, link: u32, table: u32) -> Route {
        Route {
            link: Some(link),
            table: Some(table),
            // IPv6 keeps the source of such routes by itself.
            source: self.address.is_ipv4().then(|| self.address.ip()),
            priority: self.address.is_ipv6().then_some(V6_METRIC),
            ..Route::to(self.address)
        }
    }

    /// The route to everything else in `table`, if there is a gateway.
    pub(crate) fn default_route(&self, link: u32, table: u32) -> Option<Route> {
        let any: IpAddr = match self.address {
            IpNetwork::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpNetwork::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let dst = IpNetwork::new(any, 0).ok()?;
        let gateway = Some(self.gateway?);
        Some(Route { gateway, link: Some(link), table: Some(table), ..Route::to(dst) })
    }
}

/// The addresses of `ifname` in the result of the plugin before.
///
/// # Errors
/// [`Code::InvalidConfig`] when there is none: then there is no source to route by.
pub(crate) fn sources(result: &CniResult, ifname: &str, config: &Config) -> Result<Vec<Source>> {
    let is_ours = |index: Option<usize>| {
        let interface = index.and_then(|index| result.interfaces.get(index));
        interface.is_none_or(|interface| interface.name == ifname)
    };
    let mut all: Vec<Source> = Vec::new();
    for ip in result.ips.iter().filter(|ip| is_ours(ip.interface)) {
        let gateway = config.gateway(ip.address.ip()).or(ip.gateway);
        if all.iter().all(|other| other.address.ip() != ip.address.ip()) {
            all.push(Source { address: ip.address, gateway });
        }
    }
    if all.is_empty() {
        return Err(Error::new(
            Code::InvalidConfig,
            format!("prevResult: has no address on {ifname}"),
        )
        .with_details("sbr routes by the addresses that a plugin before it has given"));
    }
    Ok(all)
}

/// What the pod has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Present {
    /// Index of the interface.
    pub(crate) link: u32,
    /// Routes of all links and tables.
    pub(crate) routes: Vec<Route>,
    /// Rules.
    pub(crate) rules: Vec<PolicyRule>,
}

impl Present {
    fn of_table(&self, table: u32) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(move |route| route.table == Some(table))
    }

    /// Routes of the interface in `table`.
    pub(crate) fn own(&self, table: u32) -> impl Iterator<Item = &Route> {
        self.of_table(table).filter(|route| route.link == Some(self.link))
    }

    /// The rule for `source` alone, of whoever.
    pub(crate) fn rule_for(&self, source: &Source) -> Option<&PolicyRule> {
        self.rules.iter().find(|rule| rule.source_only && rule.source == source.host())
    }

    /// Whether no rule leads to the table, and nobody else has a route in it.
    fn is_free(&self, table: u32) -> bool {
        self.rules.iter().all(|rule| rule.table != table)
            && self.of_table(table).all(|route| route.link == Some(self.link))
    }
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    /// Routes that a killed ADD left in a table that is taken again.
    pub(crate) stale: Vec<Route>,
    /// Routes to be there; one that is there with its destination and metric is replaced.
    pub(crate) routes: Vec<Route>,
    /// Rules to be added.
    pub(crate) rules: Vec<PolicyRule>,
    /// Routes of the main table to be replaced by those with a source.
    pub(crate) hints: Vec<Route>,
    /// Routes of the main table to be taken away.
    pub(crate) leaving: Vec<Route>,
}

/// The steps from what there is to what is wished. From each state that a killed ADD leaves they
/// lead to the same end.
pub(crate) fn steps(sources: &[Source], config: &Config, present: &Present) -> Steps {
    let mut steps = Steps::default();
    if let Some(table) = config.table {
        let is_missing = |rule: &PolicyRule| {
            !present
                .rules
                .iter()
                .any(|r| r.source_only && r.source == rule.source && r.table == rule.table)
        };
        let rules = sources.iter().map(|s| PolicyRule::from_source(s.host(), table));
        steps.rules = rules.filter(is_missing).collect();
        return steps;
    }
    let mut next = FIRST_TABLE;
    for source in sources {
        let table = match present.rule_for(source) {
            Some(rule) if rule.table != MAIN => rule.table,
            _ => {
                while !present.is_free(next) {
                    next += 1;
                }
                next += 1;
                let table = next - 1;
                steps.stale.extend(present.own(table));
                steps.rules.push(PolicyRule::from_source(source.host(), table));
                table
            }
        };
        let kept: Vec<_> = present.own(table).filter(|r| !steps.stale.contains(r)).collect();
        steps.routes.extend(table_of(source, table, present, &kept));
    }
    if config.source_hints {
        steps.hints = sources.iter().map(|source| hint(source, present)).collect();
    }
    let is_kept = |route: &Route| steps.hints.iter().any(|hint| is_same(hint, route));
    let main = present.own(MAIN).filter(|route| !is_link_local(route) && !is_kept(route));
    steps.leaving = main.copied().collect();
    steps
}

/// The routes of the table of `source`: its subnet, the way out, and a copy of those of the main
/// table that packets from it may take. What has no gateway comes first, for gateways are reached
/// by it. `kept` are the routes that the table has already.
fn table_of(source: &Source, table: u32, present: &Present, kept: &[&Route]) -> Vec<Route> {
    let copied = present.own(MAIN).filter(|route| source.may_take(route));
    let mut routes: Vec<Route> = copied.map(|r| Route { table: Some(table), ..*r }).collect();
    // An ADD and DEL of the reference leave the main table without it.
    let mut known = present.own(MAIN).chain(kept.iter().copied());
    let is_known = known.any(|route| source.is_subnet(route));
    if !is_known {
        routes.push(source.subnet_route(present.link, table));
    }
    if let Some(way_out) = source.default_route(present.link, table) {
        // What leads to another gateway would be taken instead of the one that is wished.
        routes.retain(|route| route.dst.prefix() != 0 || route.gateway == way_out.gateway);
        if !routes.iter().any(|route| route.dst.prefix() == 0) {
            routes.push(way_out);
        }
    }
    routes.sort_by_key(|route| route.gateway.is_some());
    routes
}

/// The main table's route to the subnet of `source`, with its address as the source.
fn hint(source: &Source, present: &Present) -> Route {
    let known = present.own(MAIN).find(|route| source.is_subnet(route)).copied();
    let route = known.unwrap_or_else(|| source.subnet_route(present.link, MAIN));
    Route { source: Some(source.address.ip()), ..route }
}

/// Whether two routes hold the same place in a table.
pub(crate) fn is_same(one: &Route, other: &Route) -> bool {
    one.dst.network() == other.dst.network()
        && one.dst.prefix() == other.dst.prefix()
        && one.gateway == other.gateway
        && one.priority.unwrap_or_default() == other.priority.unwrap_or_default()
}

/// Routes to IPv6 link-local addresses stay: neighbours and routers of the link are found by them.
fn is_link_local(route: &Route) -> bool {
    match route.dst.network() {
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
