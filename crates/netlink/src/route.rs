//! Routes.

use crate::address::family;
use crate::wire::{Attributes, Request, ip_of, u16_at, u32_at, u32_of};
use crate::{Netlink, Result};
use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
    RouteProtocol, RouteScope, RouteType,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RTM_NEWROUTE: u16 = 24;
/// Length of `struct rtmsg`.
const HEADER: usize = 12;
/// The table of routes that name none.
const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// A unicast route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub dst: IpNetwork,
    /// Next hop; directly reachable where absent.
    pub gateway: Option<IpAddr>,
    /// The index of the link it leaves by.
    pub link: Option<u32>,
    /// The source address of packets that have none yet.
    pub source: Option<IpAddr>,
    /// 0 universe, 253 link, 254 host; by default universe with a gateway and link without.
    /// IPv6 has no scopes.
    pub scope: Option<u8>,
    /// Routing table; main (254) where absent.
    pub table: Option<u32>,
    /// Metric; lower is preferred.
    pub priority: Option<u32>,
    /// Path MTU, in bytes.
    pub mtu: Option<u32>,
    /// TCP segment size to announce, in bytes.
    pub advmss: Option<u32>,
    /// Whether the gateway is on the link even if no address says so.
    pub onlink: bool,
}

/// Which routes [`Netlink::routes`] lists.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteFilter {
    /// Only those that leave by this link.
    pub link: Option<u32>,
    /// Only those of this table; of all tables but the local one where absent.
    pub table: Option<u32>,
}

impl Route {
    /// A route to `dst` with everything else left to the kernel.
    pub fn to(dst: IpNetwork) -> Route {
        Route {
            dst,
            gateway: None,
            link: None,
            source: None,
            scope: None,
            table: None,
            priority: None,
            mtu: None,
            advmss: None,
            onlink: false,
        }
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = family(self.dst.ip());
        header.destination_prefix_length = self.dst.prefix();
        header.protocol = RouteProtocol::Boot;
        header.kind = RouteType::Unicast;
        header.scope = match self.scope {
            Some(scope) => RouteScope::from(scope),
            None if self.gateway.is_none() => RouteScope::Link,
            None => RouteScope::Universe,
        };
        header.flags.set(RouteFlags::Onlink, self.onlink);
        let table = self.table.unwrap_or(MAIN);
        header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        let list = &mut message.attributes;
        list.push(RouteAttribute::Destination(RouteAddress::from(self.dst.network())));
        list.push(RouteAttribute::Table(table));
        list.extend(self.gateway.map(|ip| RouteAttribute::Gateway(RouteAddress::from(ip))));
        list.extend(self.link.map(RouteAttribute::Oif));
        list.extend(self.source.map(|ip| RouteAttribute::PrefSource(RouteAddress::from(ip))));
        list.extend(self.priority.map(RouteAttribute::Priority));
        let mut metrics = Vec::new();
        metrics.extend(self.mtu.map(RouteMetric::Mtu));
        metrics.extend(self.advmss.map(RouteMetric::Advmss));
        if !metrics.is_empty() {
            list.push(RouteAttribute::Metrics(metrics));
        }
        message
    }

    /// The route of a message, once for each next hop.
    fn read(body: &[u8]) -> Option<Vec<Route>> {
        const METRIC_MTU: u16 = 2;
        const METRIC_ADVMSS: u16 = 8;
        let [address_family, prefix, _, _, table, _, scope, kind] = *body.first_chunk::<8>()?;
        if RouteType::from(kind) != RouteType::Unicast {
            return None;
        }
        let any: IpAddr = match AddressFamily::from(address_family) {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let flags = RouteFlags::from_bits_retain(u32_at(body, 8)?);
        let mut hops = Vec::new();
        let mut route = Route::to(IpNetwork::new(any, prefix).ok()?);
        route.table = Some(u32::from(table));
        route.scope = Some(scope);
        route.onlink = flags.contains(RouteFlags::Onlink);
        for (kind, value) in Attributes::after(body, HEADER) {
            match kind {
                libc::RTA_DST => route.dst = IpNetwork::new(ip_of(value)?, prefix).ok()?,
                libc::RTA_GATEWAY => route.gateway = ip_of(value),
                libc::RTA_OIF => route.link = Some(u32_of(value)),
                libc::RTA_PREFSRC => route.source = ip_of(value),
                libc::RTA_TABLE => route.table = Some(u32_of(value)),
                libc::RTA_PRIORITY => route.priority = Some(u32_of(value)),
                libc::RTA_MULTIPATH => hops = next_hops(value),
                libc::RTA_METRICS => {
                    for (kind, value) in Attributes::of(value) {
                        match kind {
                            METRIC_MTU => route.mtu = Some(u32_of(value)),
                            METRIC_ADVMSS => route.advmss = Some(u32_of(value)),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        if hops.is_empty() {
            return Some(vec![route]);
        }
        let each = |(link, gateway)| Route { link: Some(link), gateway, ..route };
        Some(hops.into_iter().map(each).collect())
    }

    fn name(&self) -> String {
        let mut name = self.dst.to_string();
        if let Some(gateway) = self.gateway {
            name += &format!(" via {gateway}");
        }
        if let Some(link) = self.link {
            name += &format!(" dev {link}");
        }
        name
    }
}

impl Netlink {
    /// Adds a route.
    ///
    /// # Errors
    /// With EEXIST if there is one with this destination, table and priority, and when the kernel
    /// refuses.
    pub fn add_route(&self, route: &Route) -> Result<()> {
        self.put_route(route, NLM_F_CREATE | NLM_F_EXCL, "add")
    }

    /// Adds a route in place of one with the same destination, table and priority.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn replace_route(&self, route: &Route) -> Result<()> {
        self.put_route(route, NLM_F_CREATE | NLM_F_REPLACE, "replace")
    }

    /// Adds a route behind those with the same destination, table and priority; IPv6 makes one
    /// route with several next hops of them.
    ///
    /// # Errors
    /// With EEXIST if the very same route is there, and when the kernel refuses.
    pub fn append_route(&self, route: &Route) -> Result<()> {
        self.put_route(route, NLM_F_CREATE | NLM_F_APPEND, "add")
    }

    fn put_route(&self, route: &Route, flags: u16, verb: &str) -> Result<()> {
        let request = Request::new(libc::RTM_NEWROUTE, &route.message());
        let op = || format!("{verb} route {}", route.name());
        self.socket.borrow_mut().change(&request, flags, op)
    }

    /// Takes a route away; says whether it was there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_route(&self, route: &Route) -> Result<bool> {
        let mut message = route.message();
        if route.scope.is_none() {
            // "Nowhere" matches every scope here.
            message.header.scope = RouteScope::NoWhere;
        }
        message.header.protocol = RouteProtocol::Unspec;
        let request = Request::new(libc::RTM_DELROUTE, &message);
        let op = || format!("delete route {}", route.name());
        match self.socket.borrow_mut().change(&request, 0, op) {
            Ok(()) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Unicast routes of both families that match `filter`.
    ///
    /// A route with several next hops is listed once for each.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn routes(&self, filter: RouteFilter) -> Result<Vec<Route>> {
        let mut all = self.family_routes(AddressFamily::Inet, filter)?;
        all.extend(self.family_routes(AddressFamily::Inet6, filter)?);
        Ok(all)
    }

    fn family_routes(&self, family: AddressFamily, filter: RouteFilter) -> Result<Vec<Route>> {
        const LOCAL: u32 = 255;
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.attributes.extend(filter.link.map(RouteAttribute::Oif));
        message.attributes.extend(filter.table.map(RouteAttribute::Table));
        let wanted = |route: &Route| {
            (filter.link.is_none() || route.link == filter.link)
                && match filter.table {
                    Some(table) => route.table == Some(table),
                    None => route.table != Some(LOCAL),
                }
        };
        let read = |kind, body: &[u8]| {
            let routes = (kind == RTM_NEWROUTE).then(|| Route::read(body)).flatten();
            routes.map(|list| list.into_iter().filter(wanted).collect::<Vec<_>>())
        };
        let request = Request::new(libc::RTM_GETROUTE, &message);
        match self.socket.borrow_mut().dump(&request, || "list routes".to_owned(), read) {
            // No such table or link; or a kernel without this family.
            Err(e) if e.is_not_found() || e.is_unsupported() => Ok(Vec::new()),
            Ok(lists) => Ok(lists.into_iter().flatten().collect()),
            Err(e) => Err(e),
        }
    }
}

/// Link and gateway of each next hop (`struct rtnexthop`) of a route that has several.
fn next_hops(mut list: &[u8]) -> Vec<(u32, Option<IpAddr>)> {
    const HEADER: usize = 8;
    let mut hops = Vec::new();
    while let (Some(length), Some(link)) = (u16_at(list, 0).map(usize::from), u32_at(list, 4)) {
        let Some(hop) = list.get(..length.max(HEADER)) else { break };
        let gateway = Attributes::after(hop, HEADER).find(|(kind, _)| *kind == libc::RTA_GATEWAY);
        hops.push((link, gateway.and_then(|(_, value)| ip_of(value))));
        list = list.get(hop.len().next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}
