//! The way that a packet of this node would take.

use crate::address::family;
use crate::wire::{Attributes, Request, ip_of, u32_of};
use crate::{Netlink, Result};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use std::net::{IpAddr, Ipv4Addr};

/// Length of `struct rtmsg`.
const HEADER: usize = 12;

/// What `ip route get` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The index of the link that the packet leaves by; loopback for an address of this node.
    pub link: u32,
    /// Whether the address is this node's own.
    pub is_local: bool,
}

impl Netlink {
    /// The way to `ip`; `None` if there is none.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn way_to(&self, ip: IpAddr) -> Result<Option<Way>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(ip);
        message.header.destination_prefix_length = if ip.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(ip)));
        let request = Request::new(libc::RTM_GETROUTE, &message);
        let read = |body: &[u8]| {
            let kind = RouteType::from(*body.get(7)?);
            let (_, link) = Attributes::after(body, HEADER).find(|(k, _)| *k == libc::RTA_OIF)?;
            Some(Way { link: u32_of(link), is_local: kind == RouteType::Local })
        };
        match self.socket.borrow_mut().get(&request, || format!("get route to {ip}"), read) {
            Ok(way) => Ok(Some(way)),
            // Unreachable, prohibited, or a blackhole route.
            Err(e)
                if matches!(
                    e.errno,
                    libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL
                ) =>
            {
                Ok(None)
            }
            Err(e) if e.is_not_found() || e.is_unsupported() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The IPv4 addresses of this node, of all links.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn own_ipv4(&self) -> Result<Vec<Ipv4Addr>> {
        const RTM_NEWADDR: u16 = 20;
        /// Length of `struct ifaddrmsg`.
        const HEADER: usize = 8;
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        let request = Request::new(libc::RTM_GETADDR, &message);
        self.socket.borrow_mut().dump(
            &request,
            || "list addresses".to_owned(),
            |kind, body| {
                if kind != RTM_NEWADDR {
                    return None;
                }
                let mut found = Attributes::after(body, HEADER);
                match found.find(|(k, _)| *k == libc::IFA_LOCAL).and_then(|(_, v)| ip_of(v)) {
                    Some(IpAddr::V4(ip)) => Some(ip),
                    _ => None,
                }
            },
        )
    }
}
