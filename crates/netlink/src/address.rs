//! Addresses of links.

use crate::wire::{Attributes, Request, ip_of, u32_at, u32_of};
use crate::{Netlink, Result};
use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use std::net::{IpAddr, Ipv4Addr};

const RTM_NEWADDR: u16 = 20;
/// Length of `struct ifaddrmsg`.
const HEADER: usize = 8;

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The index of the link.
    pub link: u32,
    /// The address with its prefix length.
    pub network: IpNetwork,
    /// 0 for universe, 253 for link, 254 for host.
    pub scope: u8,
    /// Whether the kernel has not yet made sure that nobody else has it (IPv6).
    pub tentative: bool,
    /// Whether somebody else turned out to have it (IPv6).
    pub duplicate: bool,
}

impl Address {
    fn read(body: &[u8]) -> Option<Address> {
        let prefix = *body.get(1)?;
        let scope = *body.get(3)?;
        let link = u32_at(body, 4)?;
        let mut flags = u32::from(*body.get(2)?);
        let (mut address, mut local) = (None, None);
        for (kind, value) in Attributes::after(body, HEADER) {
            match kind {
                libc::IFA_ADDRESS => address = ip_of(value),
                libc::IFA_LOCAL => local = ip_of(value),
                libc::IFA_FLAGS => flags = u32_of(value),
                _ => {}
            }
        }
        // On a point-to-point link IFA_ADDRESS is the other side's.
        let network = IpNetwork::new(local.or(address)?, prefix).ok()?;
        let flags = AddressFlags::from_bits_retain(flags);
        Some(Address {
            link,
            network,
            scope,
            tentative: flags.contains(AddressFlags::Tentative),
            duplicate: flags.contains(AddressFlags::Dadfailed),
        })
    }
}

pub(crate) fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn message(link: u32, network: IpNetwork) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(network.ip());
    message.header.prefix_len = network.prefix();
    message.header.index = link;
    message.attributes.push(AddressAttribute::Local(network.ip()));
    message.attributes.push(AddressAttribute::Address(network.ip()));
    message
}

/// The broadcast address, where a subnet is large enough to have one.
fn broadcast(network: IpNetwork) -> Option<Ipv4Addr> {
    match network {
        IpNetwork::V4(v4) if v4.prefix() < 31 => Some(v4.broadcast()),
        _ => None,
    }
}

impl Netlink {
    /// Adds an address. An IPv6 address is usable at once (IFA_F_NODAD), unless `probe` asks the
    /// kernel to look for a duplicate first, which takes it one to two seconds.
    ///
    /// # Errors
    /// With EEXIST if the link has it, and when the kernel refuses.
    pub fn add_address(&self, link: u32, network: IpNetwork, probe: bool) -> Result<()> {
        let mut message = message(link, network);
        if network.is_ipv6() && !probe {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        message.attributes.extend(broadcast(network).map(AddressAttribute::Broadcast));
        if network.ip().is_loopback() {
            message.header.scope = AddressScope::Host;
        }
        let request = Request::new(libc::RTM_NEWADDR, &message);
        let op = || format!("add address {network} to link {link}");
        self.socket.borrow_mut().change(&request, NLM_F_CREATE | NLM_F_EXCL, op)
    }

    /// Takes an address away; says whether it was there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_address(&self, link: u32, network: IpNetwork) -> Result<bool> {
        let request = Request::new(libc::RTM_DELADDR, &message(link, network));
        let op = || format!("delete address {network} of link {link}");
        match self.socket.borrow_mut().change(&request, 0, op) {
            Ok(()) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The addresses of a link, of both families.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn addresses(&self, link: u32) -> Result<Vec<Address>> {
        let mut message = AddressMessage::default();
        message.header.index = link;
        let read = |kind, body: &[u8]| {
            // An old kernel does not filter.
            let address = (kind == RTM_NEWADDR).then(|| Address::read(body)).flatten();
            address.filter(|address| address.link == link)
        };
        let request = Request::new(libc::RTM_GETADDR, &message);
        let op = || format!("list addresses of link {link}");
        match self.socket.borrow_mut().dump(&request, op, read) {
            Err(e) if e.errno == libc::ENODEV => Ok(Vec::new()),
            other => other,
        }
    }
}
