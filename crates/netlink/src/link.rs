//! Links: what the kernel says about them.

use crate::bridge::PortFlags;
use crate::wire::{Attributes, Request, flag_of, text_of, u16_at, u32_at, u32_of};
use crate::{Error, IpVlanKind, Mac, Netlink, Result};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use std::fmt;

/// Length of `struct ifinfomsg`.
const HEADER: usize = 16;
const RTM_NEWLINK: u16 = 16;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Free text set by whoever made it (`ifalias`); empty if none.
    pub alias: String,
    /// What it is.
    pub kind: Kind,
    /// Its Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// In bytes.
    pub mtu: u32,
    /// Whether it is set up.
    pub up: bool,
    /// Whether it has a carrier and may pass traffic (IFF_RUNNING).
    pub running: bool,
    /// Whether it was set to take all packets (IFF_PROMISC).
    pub promiscuous: bool,
    /// Whether it was set to take all multicast packets (IFF_ALLMULTI).
    pub all_multicast: bool,
    /// Length of the queue for what it sends, in packets.
    pub queue_length: u32,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// The index of the bridge, bond or VRF it belongs to.
    pub master: Option<u32>,
    /// The index of the link it is bound to; for a veth its peer's, in the peer's namespace.
    pub peer: Option<u32>,
    /// Whether [`Link::peer`] counts in another namespace than this link's.
    pub peer_elsewhere: bool,
    /// Port settings, if it is a port of a bridge.
    pub port: Option<PortFlags>,
    /// Bridge settings, if it is a bridge.
    pub bridge: Option<BridgeInfo>,
    /// VLAN ID, if it is a VLAN.
    pub vlan: Option<u16>,
    /// Its mode, if it is an IP-based virtual interface.
    pub ipvlan: Option<IpVlanKind>,
    /// The routing table of its members, if it is a VRF.
    pub vrf: Option<u32>,
}

/// Settings of a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeInfo {
    /// Whether it keeps VLANs apart.
    pub vlan_filtering: bool,
    /// The VLAN that new ports get; 0 for none.
    pub default_pvid: u16,
    /// Whether it runs the spanning tree protocol, which makes new ports wait.
    pub stp: bool,
}

/// What a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A software bridge.
    Bridge,
    /// One end of a virtual Ethernet pair.
    Veth,
    /// A VLAN on top of another link.
    Vlan,
    /// A MAC-based virtual interface on top of another link.
    MacVlan,
    /// An IP-based virtual interface on top of another link.
    IpVlan,
    /// A dummy interface.
    Dummy,
    /// A TUN or TAP interface.
    Tun,
    /// A device that gives its members a routing table of their own.
    Vrf,
    /// An intermediate functional block: sends what others are redirected to it, later.
    Ifb,
    /// A device of no link type: hardware, or the loopback interface.
    Device,
    /// Any other link type, by the kernel's name.
    Other(String),
}

impl Kind {
    fn parse(name: String) -> Kind {
        match name.as_str() {
            "bridge" => Kind::Bridge,
            "veth" => Kind::Veth,
            "vlan" => Kind::Vlan,
            "macvlan" => Kind::MacVlan,
            "ipvlan" => Kind::IpVlan,
            "dummy" => Kind::Dummy,
            "tun" => Kind::Tun,
            "vrf" => Kind::Vrf,
            "ifb" => Kind::Ifb,
            "" => Kind::Device,
            _ => Kind::Other(name),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Bridge => "bridge",
            Kind::Veth => "veth",
            Kind::Vlan => "vlan",
            Kind::MacVlan => "macvlan",
            Kind::IpVlan => "ipvlan",
            Kind::Dummy => "dummy",
            Kind::Tun => "tun",
            Kind::Vrf => "vrf",
            Kind::Ifb => "ifb",
            Kind::Device => "device",
            Kind::Other(name) => name,
        })
    }
}

impl Link {
    fn read(body: &[u8]) -> Option<Link> {
        let index = u32_at(body, 4)?;
        let flags = u32_at(body, 8)?;
        let has = |flag: libc::c_int| flags & flag.cast_unsigned() != 0;
        let mut link = Link {
            index,
            name: String::new(),
            alias: String::new(),
            kind: Kind::Device,
            mac: None,
            mtu: 0,
            up: has(libc::IFF_UP),
            running: has(libc::IFF_RUNNING),
            promiscuous: has(libc::IFF_PROMISC),
            all_multicast: has(libc::IFF_ALLMULTI),
            queue_length: 0,
            loopback: has(libc::IFF_LOOPBACK),
            master: None,
            peer: None,
            peer_elsewhere: false,
            port: None,
            bridge: None,
            vlan: None,
            ipvlan: None,
            vrf: None,
        };
        for (kind, value) in Attributes::after(body, HEADER) {
            match kind {
                libc::IFLA_IFNAME => link.name = text_of(value),
                libc::IFLA_IFALIAS => link.alias = text_of(value),
                libc::IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
                libc::IFLA_MTU => link.mtu = u32_of(value),
                libc::IFLA_TXQLEN => link.queue_length = u32_of(value),
                libc::IFLA_MASTER => link.master = Some(u32_of(value)),
                libc::IFLA_LINK => link.peer = Some(u32_of(value)).filter(|n| *n != 0),
                libc::IFLA_LINK_NETNSID => link.peer_elsewhere = true,
                libc::IFLA_LINKINFO => link.read_info(value),
                _ => {}
            }
        }
        Some(link)
    }

    fn read_info(&mut self, info: &[u8]) {
        const STP_STATE: u16 = 5;
        const VLAN_FILTERING: u16 = 7;
        const VLAN_DEFAULT_PVID: u16 = 39;
        const VLAN_ID: u16 = 1;
        const IPVLAN_MODE: u16 = 1;
        const VRF_TABLE: u16 = 1;
        let mut port_of = String::new();
        for (kind, value) in Attributes::of(info) {
            match kind {
                libc::IFLA_INFO_KIND => self.kind = Kind::parse(text_of(value)),
                libc::IFLA_INFO_DATA if self.kind == Kind::Bridge => {
                    let bridge = self.bridge.insert(BridgeInfo::default());
                    for (kind, value) in Attributes::of(value) {
                        match kind {
                            STP_STATE => bridge.stp = u32_of(value) != 0,
                            VLAN_FILTERING => bridge.vlan_filtering = flag_of(value),
                            VLAN_DEFAULT_PVID => {
                                bridge.default_pvid = u16_at(value, 0).unwrap_or_default();
                            }
                            _ => {}
                        }
                    }
                }
                libc::IFLA_INFO_DATA if self.kind == Kind::Vlan => {
                    self.vlan = Attributes::of(value)
                        .find(|(kind, _)| *kind == VLAN_ID)
                        .and_then(|(_, value)| u16_at(value, 0));
                }
                libc::IFLA_INFO_DATA if self.kind == Kind::IpVlan => {
                    self.ipvlan = Attributes::of(value)
                        .find(|(kind, _)| *kind == IPVLAN_MODE)
                        .and_then(|(_, value)| IpVlanKind::parse(u16_at(value, 0)?));
                }
                libc::IFLA_INFO_DATA if self.kind == Kind::Vrf => {
                    self.vrf = Attributes::of(value)
                        .find(|(kind, _)| *kind == VRF_TABLE)
                        .map(|(_, value)| u32_of(value));
                }
                libc::IFLA_INFO_SLAVE_KIND => port_of = text_of(value),
                libc::IFLA_INFO_SLAVE_DATA if port_of == "bridge" => {
                    self.port = Some(PortFlags::read(value));
                }
                _ => {}
            }
        }
    }
}

/// A question about one link or all; the counters are left out of the answer.
fn question() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

fn get(message: LinkMessage) -> Request {
    Request::new(libc::RTM_GETLINK, &message)
}

impl Netlink {
    /// The link called `name`; `None` if there is none.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn link_by_name(&self, name: &str) -> Result<Option<Link>> {
        let mut message = question();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(message, || format!("get link {name}"))
    }

    /// The link with this index; `None` if there is none.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn link_by_index(&self, index: u32) -> Result<Option<Link>> {
        let mut message = question();
        message.header.index = index;
        self.one_link(message, || format!("get link {index}"))
    }

    fn one_link(&self, message: LinkMessage, op: impl Fn() -> String) -> Result<Option<Link>> {
        match self.socket.borrow_mut().get(&get(message), op, Link::read) {
            Ok(link) => Ok(Some(link)),
            Err(e) if e.errno == libc::ENODEV => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All links.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn links(&self) -> Result<Vec<Link>> {
        self.all_links(question(), "list links")
    }

    /// The links that belong to the bridge, bond or VRF with index `master`.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn ports(&self, master: u32) -> Result<Vec<Link>> {
        let mut message = question();
        message.attributes.push(LinkAttribute::Controller(master));
        let mut ports = self.all_links(message, "list ports")?;
        // An old kernel does not filter.
        ports.retain(|link| link.master == Some(master));
        Ok(ports)
    }

    fn all_links(&self, message: LinkMessage, op: &str) -> Result<Vec<Link>> {
        let read = |kind, body: &[u8]| (kind == RTM_NEWLINK).then(|| Link::read(body)).flatten();
        self.socket.borrow_mut().dump(&get(message), || op.to_owned(), read)
    }

    /// The link called `name`.
    ///
    /// # Errors
    /// With ENODEV when there is none, and when the kernel refuses to tell.
    pub fn expect_link(&self, name: &str) -> Result<Link> {
        self.link_by_name(name)?.ok_or_else(|| Error {
            op: format!("get link {name}"),
            errno: libc::ENODEV,
            text: String::new(),
        })
    }
}
