//! Neighbours: hardware addresses of hosts on a link.

use crate::address::family;
use crate::wire::{Attributes, Request, ip_of, u16_at, u32_at};
use crate::{Mac, Netlink, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use std::net::IpAddr;

const RTM_NEWNEIGH: u16 = 28;
/// Length of `struct ndmsg`.
const HEADER: usize = 12;

/// A host on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The index of the link.
    pub link: u32,
    /// Its address.
    pub ip: IpAddr,
    /// Its hardware address, once known.
    pub mac: Option<Mac>,
    /// Whether it was set by hand and never expires.
    pub permanent: bool,
}

impl Neighbour {
    fn read(body: &[u8]) -> Option<Neighbour> {
        let link = u32_at(body, 4)?;
        let state = NeighbourState::from(u16_at(body, 8)?);
        let (mut ip, mut mac) = (None, None);
        for (kind, value) in Attributes::after(body, HEADER) {
            match kind {
                libc::NDA_DST => ip = ip_of(value),
                libc::NDA_LLADDR => mac = value.try_into().ok().map(Mac),
                _ => {}
            }
        }
        Some(Neighbour { link, ip: ip?, mac, permanent: state == NeighbourState::Permanent })
    }
}

fn message(link: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = link;
    message.attributes.push(NeighbourAttribute::Destination(match ip {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    }));
    message
}

impl Netlink {
    /// Sets the hardware address of a neighbour by hand, for good.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_neighbour(&self, link: u32, ip: IpAddr, mac: Mac) -> Result<()> {
        let mut message = message(link, ip);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let request = Request::new(libc::RTM_NEWNEIGH, &message);
        let op = || format!("set neighbour {ip} of link {link}");
        self.socket.borrow_mut().change(&request, NLM_F_CREATE | NLM_F_REPLACE, op)
    }

    /// Takes a neighbour away; says whether it was there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_neighbour(&self, link: u32, ip: IpAddr) -> Result<bool> {
        let request = Request::new(libc::RTM_DELNEIGH, &message(link, ip));
        let op = || format!("delete neighbour {ip} of link {link}");
        match self.socket.borrow_mut().change(&request, 0, op) {
            Ok(()) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The neighbours on a link, of both families.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn neighbours(&self, link: u32) -> Result<Vec<Neighbour>> {
        let mut message = NeighbourMessage::default();
        message.attributes.push(NeighbourAttribute::IfIndex(link));
        let read = |kind, body: &[u8]| {
            let neighbour = (kind == RTM_NEWNEIGH).then(|| Neighbour::read(body)).flatten();
            neighbour.filter(|neighbour| neighbour.link == link)
        };
        let request = Request::new(libc::RTM_GETNEIGH, &message);
        let op = || format!("list neighbours of link {link}");
        self.socket.borrow_mut().dump(&request, op, read)
    }
}
