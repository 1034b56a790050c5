//! The pod's side: its interface, and sockets in its namespace.
//!
//! Sockets keep a namespace alive, so they are open only while an answer is waited for.

use crate::exchange::{Datagram, Received};
use crate::lease::{Family, Lease};
use crate::store::Interface;
use crate::sys;
use crate::wire::frame::{self, End};
use crate::wire::{v4, v6};
use cni_types::{Code, Error, IpConfig, Result, Route};
use netlink::{Change, Kind, Link, Netlink};
use netns::Netns;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind,
    recv, send, sendto, setsockopt, socket, sockopt,
};
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use veth::report;

/// The largest frame that is read, in bytes.
const LARGEST: usize = 9216;

/// An open pod.
#[derive(Debug)]
pub(crate) struct Pod {
    path: PathBuf,
    netlink: Netlink,
    index: u32,
    ifname: String,
    mac: [u8; 6],
    /// For DHCPv4.
    frames: Option<OwnedFd>,
    /// For DHCPv6.
    servers: Option<OwnedFd>,
}

/// Sets the interface up, so that it can be used before it has an address, and tells what it is.
///
/// # Errors
/// [`Code::InvalidConfig`] when there is none or it is of no use; those of the kernel.
pub(crate) fn prepare(path: &Path, ifname: &str, families: &[Family]) -> Result<Interface> {
    Netns::open(path)?.run(|| {
        let netlink = Netlink::open()?;
        let (link, mac) = find(&netlink, ifname)?;
        let with_v6 = families.contains(&Family::Ipv6);
        if with_v6 {
            enable_v6(ifname)?;
        }
        if !link.up {
            // The kernel makes the same link-local address, and then looks for a second whether a
            // neighbour has it; a pod's start has not the time.
            if let Some(own) = link.mac.filter(|_| with_v6 && link.kind != Kind::IpVlan) {
                match netlink.add_address(link.index, own.link_local(), false) {
                    Err(e) if e.is_exists() => {}
                    other => other?,
                }
            }
            netlink.set_up(link.index)?;
        }
        Ok(Interface { mac, mtu: link.mtu, alone: link.kind != Kind::IpVlan })
    })?
}

fn find(netlink: &Netlink, ifname: &str) -> Result<(Link, [u8; 6])> {
    let no = |cause: &str| {
        Error::new(Code::InvalidConfig, format!("interface {ifname}: {cause}")).with_details(
            "dhcp is an IPAM plugin: a main plugin such as macvlan or bridge makes the interface first",
        )
    };
    let link = netlink.link_by_name(ifname)?.ok_or_else(|| no("is not in the pod"))?;
    let mac = link.mac.ok_or_else(|| no("has no Ethernet address, which DHCP needs"))?;
    Ok((link, mac.0))
}

/// Turns IPv6 on where the pod was made without it.
fn enable_v6(ifname: &str) -> Result<()> {
    for name in ["lo", ifname] {
        let key = sysctl::interface(sysctl::Family::V6, name, "disable_ipv6");
        match sysctl::read(&key) {
            Ok(value) if value == "0" => {}
            Ok(_) => sysctl::write(&key, "0").map(drop)?,
            Err(e) if e.is_not_found() => {
                let cause =
                    format!("interface {ifname}: has no IPv6, which ipam.families asks for");
                return Err(Error::new(Code::InvalidConfig, cause)
                    .with_details("boot the node with IPv6, or leave \"ipv6\" out"));
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

impl Pod {
    /// Opens sockets for these families.
    ///
    /// # Errors
    /// [`Code::InvalidNetns`] when the namespace is gone; [`Code::InvalidConfig`] when the
    /// interface is; those of the kernel.
    pub(crate) fn open(path: &Path, ifname: &str, families: &[Family]) -> Result<Pod> {
        Netns::open(path)?.run(|| {
            let netlink = Netlink::open()?;
            let (link, mac) = find(&netlink, ifname)?;
            let fault = |what: &'static str| {
                let ifname = ifname.to_owned();
                move |e: io::Error| {
                    Error::new(Code::Kernel, format!("interface {ifname}: {what}: {e}"))
                        .with_details("another DHCP client may run in the pod; stop it")
                }
            };
            let mut pod = Pod {
                path: path.to_owned(),
                netlink,
                index: link.index,
                ifname: ifname.to_owned(),
                mac,
                frames: None,
                servers: None,
            };
            if families.contains(&Family::Ipv4) {
                let frames = sys::link_socket(link.index).map_err(fault("no socket for frames"))?;
                pod.frames = Some(frames);
            }
            if families.contains(&Family::Ipv6) {
                let socket = v6_socket(ifname).map_err(fault("no socket for UDP port 546"))?;
                pod.servers = Some(socket);
            }
            Ok(pod)
        })?
    }

    /// The hardware address of the interface.
    pub(crate) fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Descriptors to wait on.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.frames, &self.servers].into_iter().flatten().map(AsFd::as_fd)
    }

    /// Whether the link passes traffic, and IPv6 may be sent from it where that is wanted.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn is_ready(&self) -> Result<bool> {
        if !self.netlink.link_by_index(self.index)?.is_some_and(|link| link.running) {
            return Ok(false);
        }
        if self.servers.is_none() {
            return Ok(true);
        }
        let addresses = self.netlink.addresses(self.index)?;
        let link_local = |a: &netlink::Address| match a.network.ip() {
            std::net::IpAddr::V6(ip) => ip.is_unicast_link_local() && !a.tentative,
            std::net::IpAddr::V4(_) => false,
        };
        Ok(addresses.iter().any(link_local))
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// [`Code::Kernel`] with the interface and the reason.
    pub(crate) fn send(&self, datagram: &Datagram) -> Result<()> {
        let own = |ip: Ipv4Addr| End { mac: self.mac, ip, port: v4::CLIENT_PORT };
        let server = |mac, ip| End { mac, ip, port: v4::SERVER_PORT };
        let sent = match datagram {
            Datagram::Broadcast { from, payload } => {
                let all = server(frame::BROADCAST, Ipv4Addr::BROADCAST);
                self.send_frame(&frame::build(own(*from), all, payload))
            }
            Datagram::Neighbour { from, to, mac, payload } => {
                self.send_frame(&frame::build(own(*from), server(*mac, *to), payload))
            }
            Datagram::Unicast { from, to, payload } => self.send_routed((*from, *to), payload),
            Datagram::Servers(payload) => self.send_to_servers(payload),
        };
        sent.map_err(|e| {
            Error::new(Code::Kernel, format!("interface {}: cannot send: {e}", self.ifname))
        })
    }

    fn send_frame(&self, bytes: &[u8]) -> io::Result<()> {
        let frames = self.frames.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(send(frames.as_raw_fd(), bytes, MsgFlags::empty()).map(drop)?)
    }

    /// By the pod's own routes, from its own address.
    fn send_routed(&self, (from, to): (Ipv4Addr, Ipv4Addr), payload: &[u8]) -> io::Result<()> {
        let space = Netns::open(&self.path).map_err(io::Error::other)?;
        let device = OsString::from(&self.ifname);
        let work = move || -> io::Result<()> {
            let kind = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let made = socket(AddressFamily::Inet, SockType::Datagram, kind, None)?;
            setsockopt(&made, sockopt::ReuseAddr, &true)?;
            setsockopt(&made, sockopt::BindToDevice, &device)?;
            let end = |ip, port| SockaddrIn::from(SocketAddrV4::new(ip, port));
            bind(made.as_raw_fd(), &end(from, v4::CLIENT_PORT))?;
            let to = end(to, v4::SERVER_PORT);
            Ok(sendto(made.as_raw_fd(), payload, &to, MsgFlags::empty()).map(drop)?)
        };
        space.run(work).map_err(io::Error::other)?
    }

    fn send_to_servers(&self, payload: &[u8]) -> io::Result<()> {
        let servers = self.servers.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let all = SocketAddrV6::new(v6::SERVERS, v6::SERVER_PORT, 0, self.index);
        let all = SockaddrIn6::from(all);
        Ok(sendto(servers.as_raw_fd(), payload, &all, MsgFlags::empty()).map(drop)?)
    }

    /// All messages that have come. A socket that failed has none; the link's own end is noticed by
    /// what is sent.
    pub(crate) fn receive(&self) -> Vec<Received> {
        let mut found = Vec::new();
        let mut buffer = vec![0; LARGEST];
        if let Some(frames) = &self.frames {
            while let Some(bytes) = next(frames, &mut buffer) {
                let Some((from, port, payload)) = frame::read(bytes) else { continue };
                let ports = (from.port, port) == (v4::SERVER_PORT, v4::CLIENT_PORT);
                if let Some(message) = v4::Message::decode(payload).filter(|_| ports) {
                    found.push(Received::V4(message, from.mac));
                }
            }
        }
        if let Some(servers) = &self.servers {
            while let Some(bytes) = next(servers, &mut buffer) {
                found.extend(v6::Message::decode(bytes).map(Received::V6));
            }
        }
        found
    }

    /// Takes the address and routes of a lease away.
    ///
    /// # Errors
    /// Those of the kernel; the rest is done.
    pub(crate) fn take(&self, lease: &Lease) -> Result<()> {
        let mut outcomes = Vec::new();
        for route in self.routes_of(lease) {
            outcomes.push(self.netlink.delete_route(&route).map(drop));
        }
        outcomes.push(self.netlink.delete_address(self.index, lease.address).map(drop));
        Error::collect(outcomes.into_iter().map(|outcome| outcome.map_err(Error::from)))
    }

    /// Gives the pod a lease in place of `old`: only what differs is touched.
    ///
    /// # Errors
    /// Those of the kernel; the rest is done.
    pub(crate) fn give(&self, old: Option<&Lease>, new: &Lease, mtu: u32) -> Result<()> {
        let mut outcomes = Vec::new();
        if old.is_none_or(|old| old.address != new.address) {
            match self.netlink.add_address(self.index, new.address, false) {
                Err(e) if e.is_exists() => {}
                other => outcomes.push(other),
            }
        }
        let (before, after) =
            (old.map(|old| self.routes_of(old)).unwrap_or_default(), self.routes_of(new));
        for route in before.iter().filter(|route| !after.contains(route)) {
            outcomes.push(self.netlink.delete_route(route).map(drop));
        }
        for route in &after {
            match self.netlink.append_route(route) {
                Err(e) if e.is_exists() => {}
                other => outcomes.push(other),
            }
        }
        if let Some(old) = old.filter(|old| old.address != new.address) {
            outcomes.push(self.netlink.delete_address(self.index, old.address).map(drop));
        }
        let mut all: Vec<Result<()>> =
            outcomes.into_iter().map(|outcome| outcome.map_err(Error::from)).collect();
        if new.mtu.is_some() || old.is_some_and(|old| old.mtu.is_some()) {
            all.push(self.limit_mtu(new, mtu));
        }
        Error::collect(all)
    }

    /// Makes the interface's MTU that of the lease, or `most` where that is less or the lease has
    /// none.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn limit_mtu(&self, lease: &Lease, most: u32) -> Result<()> {
        let wanted = lease.mtu.unwrap_or(most).min(most);
        match self.netlink.link_by_index(self.index)? {
            Some(link) if link.mtu != wanted => {
                let change = Change { mtu: Some(wanted), ..Change::default() };
                Ok(self.netlink.change(self.index, &change)?)
            }
            _ => Ok(()),
        }
    }

    fn routes_of(&self, lease: &Lease) -> Vec<netlink::Route> {
        let ips = [IpConfig { interface: None, address: lease.address, gateway: lease.gateway }];
        let kernel = |route: &Route| report::kernel_route(route, &ips, self.index);
        lease.routes.iter().map(kernel).collect()
    }
}

/// A socket of DHCPv6 clients on one link.
fn v6_socket(ifname: &str) -> io::Result<OwnedFd> {
    let kind = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(AddressFamily::Inet6, SockType::Datagram, kind, None)?;
    setsockopt(&made, sockopt::Ipv6V6Only, &true)?;
    setsockopt(&made, sockopt::BindToDevice, &OsString::from(ifname))?;
    let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, v6::CLIENT_PORT, 0, 0);
    bind(made.as_raw_fd(), &SockaddrStorage::from(any))?;
    Ok(made)
}

fn next<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let length = recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).ok()?;
    buffer.get(..length)
}
