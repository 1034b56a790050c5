//! From a server's message to a lease.

use super::deadlines;
use crate::clock::Time;
use crate::lease::{Lease, Server};
use crate::wire::v4::{Message, code};
use crate::wire::{names, v6};
use cni_types::{Dns, Route};
use ipnetwork::{IpNetwork, Ipv4Network};
use std::net::{IpAddr, Ipv4Addr};

/// What a lease is worth where the server does not say (seconds).
const USUAL: u32 = 3600;
/// Scope of a route to neighbours.
const LINK: u8 = 253;

/// The lease that a DHCPACK gives; `before` is the one that it goes on with.
///
/// # Errors
/// Why it is of no use.
pub(crate) fn of_ack(
    ack: &Message,
    mac: [u8; 6],
    now: Time,
    before: Option<&Lease>,
) -> Result<Lease, String> {
    // An answer to a renewal need not repeat the address (RFC 2131, table 3, has it do so).
    let ip = [ack.yours, ack.client].into_iter().find(|ip| is_usable(*ip));
    let ip = ip.ok_or("the server's DHCPACK has no address that a pod can have")?;
    let mask = ack.address(code::SUBNET_MASK);
    let address = match mask {
        Some(mask) => Ipv4Network::with_netmask(ip, mask)
            .map(IpNetwork::V4)
            .map_err(|_| format!("the server's DHCPACK has {mask} for a subnet mask (option 1)"))?,
        None => before
            .map(|lease| lease.address)
            .filter(|net| net.ip() == ip)
            .ok_or("the server's DHCPACK has no subnet mask (option 1); let the server send it")?,
    };
    let known = match before.map(|lease| &lease.server) {
        Some(Server::V4 { address, .. }) => Some(*address),
        _ => None,
    };
    let server = ack.address(code::SERVER).or(known);
    let server = server.ok_or("the server's DHCPACK does not name its server (option 54)")?;
    let seconds = ack.number(code::LEASE_TIME).unwrap_or(USUAL);
    if seconds == 0 {
        return Err("the server's DHCPACK is a lease of no time (option 51)".to_owned());
    }
    let (renewal, rebinding) = (ack.number(code::RENEWAL), ack.number(code::REBINDING));
    let [renewal, rebinding, expiry] = deadlines(now, seconds, renewal, rebinding);
    let gateway = ack.address(code::ROUTERS).filter(|ip| is_usable(*ip)).map(IpAddr::V4);
    Ok(Lease {
        address,
        gateway,
        routes: routes(ack, gateway),
        mtu: mtu(ack),
        dns: dns(ack),
        server: Server::V4 { address: server, mac },
        renewal,
        rebinding,
        expiry,
    })
}

/// Whether an interface can have it.
pub(crate) fn is_usable(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() || ip.is_loopback())
}

/// Options below 68 bytes are no IPv4 links (RFC 2132, 5.1).
fn mtu(ack: &Message) -> Option<u32> {
    let value = ack.options.get(&code::MTU)?;
    let mtu = u16::from_be_bytes(value.as_slice().try_into().ok()?);
    (mtu >= 68).then_some(mtu.into())
}

fn dns(ack: &Message) -> Dns {
    let domains = ack.options.get(&code::DOMAIN).map(|text| names::words(text)).unwrap_or_default();
    let search = ack.options.get(&code::SEARCH).and_then(|list| names::read(list));
    let servers = ack.addresses(code::NAME_SERVERS).into_iter().filter(|ip| !ip.is_unspecified());
    Dns {
        nameservers: servers.map(|ip| ip.to_string()).collect(),
        domain: domains.first().cloned().unwrap_or_default(),
        search: search.unwrap_or_else(|| if domains.len() > 1 { domains } else { Vec::new() }),
        options: Vec::new(),
    }
}

/// Option 121 alone, where the server sends it (RFC 3442); else option 33, and the router.
fn routes(ack: &Message, gateway: Option<IpAddr>) -> Vec<Route> {
    let list = ack.options.get(&code::CLASSLESS_ROUTES).and_then(|value| classless(value));
    if let Some(routes) = list.filter(|routes| !routes.is_empty()) {
        return routes;
    }
    let pairs = ack.addresses(code::STATIC_ROUTES);
    let mut routes: Vec<Route> =
        pairs.chunks_exact(2).filter_map(|p| classful(p[0], p[1])).collect();
    if let (Some(gateway), Ok(any)) = (gateway, Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0)) {
        routes.push(Route::new(any.into(), Some(gateway)));
    }
    routes
}

/// The routes of option 121: width, as many bytes as it needs, router. A router of zero is the link
/// itself.
fn classless(mut value: &[u8]) -> Option<Vec<Route>> {
    let mut routes = Vec::new();
    while let [width, rest @ ..] = value {
        let (significant, rest) = rest.split_at_checked(usize::from(*width).div_ceil(8))?;
        let (router, rest) = rest.split_first_chunk::<4>()?;
        let mut octets = [0; 4];
        octets.get_mut(..significant.len())?.copy_from_slice(significant);
        let net = Ipv4Network::new(octets.into(), *width).ok()?;
        let net = Ipv4Network::new(net.network(), *width).ok()?;
        let router = Ipv4Addr::from(*router);
        let on_link = router.is_unspecified();
        let gw = (!on_link).then_some(IpAddr::V4(router));
        routes.push(Route { scope: on_link.then_some(LINK), ..Route::new(net.into(), gw) });
        value = rest;
    }
    Some(routes)
}

/// A route of option 33: the width follows from the class of the destination. The default route is
/// not one (RFC 2132, 5.8).
fn classful(dst: Ipv4Addr, router: Ipv4Addr) -> Option<Route> {
    let width = match dst.octets()[0] {
        0 => return None,
        1..128 => 8,
        128..192 => 16,
        192..224 => 24,
        _ => return None,
    };
    let net = Ipv4Network::new(dst, width).ok()?;
    let net = Ipv4Network::new(net.network(), width).ok()?;
    is_usable(router).then(|| Route::new(net.into(), Some(router.into())))
}

/// The lease that a REPLY gives with `address` (RFC 8415, 18.2.10.1).
pub(crate) fn of_reply(
    reply: &v6::Message,
    address: v6::Address,
    times: (u32, u32),
    now: Time,
) -> Option<Lease> {
    let network = IpNetwork::new(address.ip.into(), 128).ok()?;
    // The preferred lifetime is what the times are shares of (14.2).
    let share = |percent: u64| {
        let preferred = if address.preferred == 0 { address.valid } else { address.preferred };
        (preferred != u32::MAX).then(|| (u64::from(preferred) * percent / 100) as u32)
    };
    let chosen = |asked: u32, percent| if asked == 0 { share(percent) } else { Some(asked) };
    let (renewal, rebinding) = (chosen(times.0, 50), chosen(times.1, 80));
    let [renewal, rebinding, expiry] = deadlines(now, address.valid, renewal, rebinding);
    Some(Lease {
        address: network,
        gateway: None,
        routes: Vec::new(),
        mtu: None,
        dns: Dns {
            nameservers: reply.name_servers.iter().map(ToString::to_string).collect(),
            search: reply.search.clone(),
            ..Dns::default()
        },
        server: Server::V6(reply.server.clone()),
        renewal,
        rebinding,
        expiry,
    })
}

#[cfg(test)]
#[path = "terms_tests.rs"]
mod tests;
