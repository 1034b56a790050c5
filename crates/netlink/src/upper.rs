//! Links on top of other links, and links of nothing at all: made.

use crate::create::named;
use crate::{Netlink, Result};
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoVlan, InfoVrf, IpVlanMode, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Where a link goes: name, namespace and size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// Its name.
    pub name: &'a str,
    /// In bytes; the kernel's choice where absent.
    pub mtu: Option<u32>,
    /// The namespace it is made in; this one where absent.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// Who routes the packets of an IP-based virtual interface, and what it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVlanKind {
    /// It is a neighbour of what is behind the link below: `l2`.
    Neighbour,
    /// The link below routes for it; it hears no broadcasts: `l3`.
    Routed,
    /// As `Routed`, through the netfilter hooks of the namespace of the link below: `l3s`.
    RoutedSymmetric,
}

impl IpVlanKind {
    /// The mode by the kernel's number (IPVLAN_MODE_L2 to IPVLAN_MODE_L3S).
    pub(crate) fn parse(mode: u16) -> Option<IpVlanKind> {
        [IpVlanKind::Neighbour, IpVlanKind::Routed, IpVlanKind::RoutedSymmetric]
            .get(usize::from(mode))
            .copied()
    }
}

impl Place<'_> {
    fn message(&self) -> LinkMessage {
        let mut message = named(self.name, self.mtu, None, false);
        message.attributes.extend(self.namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        message
    }
}

impl Netlink {
    /// Makes VLAN `id` on top of the link with index `parent` of this namespace; it stays down.
    ///
    /// # Errors
    /// With EEXIST if the name or the VLAN is taken, and when the kernel refuses.
    pub fn create_vlan(&self, place: &Place<'_>, parent: u32, id: u16) -> Result<()> {
        let mut message = place.message();
        message.attributes.push(LinkAttribute::Link(parent));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)])),
        ]));
        self.create(message, || format!("create VLAN {id} as {}", place.name))
    }

    /// Makes an IP-based virtual interface on top of the link with index `parent` of this
    /// namespace; it stays down.
    ///
    /// # Errors
    /// With EEXIST if the name is taken, EBUSY if the link below has macvlan interfaces or is a
    /// bridge port, EINVAL if it has interfaces of another mode, and when the kernel refuses.
    pub fn create_ipvlan(&self, place: &Place<'_>, parent: u32, kind: IpVlanKind) -> Result<()> {
        let mode = match kind {
            IpVlanKind::Neighbour => IpVlanMode::L2,
            IpVlanKind::Routed => IpVlanMode::L3,
            IpVlanKind::RoutedSymmetric => IpVlanMode::L3S,
        };
        let mut message = place.message();
        message.attributes.push(LinkAttribute::Link(parent));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::IpVlan),
            LinkInfo::Data(InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)])),
        ]));
        self.create(message, || format!("create ipvlan {}", place.name))
    }

    /// Makes an intermediate functional block; it stays down.
    ///
    /// # Errors
    /// With EEXIST if the name is taken, and when the kernel refuses.
    pub fn create_ifb(&self, place: &Place<'_>) -> Result<()> {
        let mut message = place.message();
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]));
        self.create(message, || format!("create ifb {}", place.name))
    }

    /// Makes a link that drops what is sent to it; it stays down.
    ///
    /// # Errors
    /// With EEXIST if the name is taken, and when the kernel refuses.
    pub fn create_dummy(&self, place: &Place<'_>) -> Result<()> {
        let mut message = place.message();
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)]));
        self.create(message, || format!("create dummy {}", place.name))
    }

    /// Makes a VRF whose members route by `table`, and sets it up.
    ///
    /// # Errors
    /// With EEXIST if the name is taken, and when the kernel refuses.
    pub fn create_vrf(&self, place: &Place<'_>, table: u32) -> Result<()> {
        let mut message = place.message();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vrf),
            LinkInfo::Data(InfoData::Vrf(vec![InfoVrf::TableId(table)])),
        ]));
        self.create(message, || format!("create VRF {} with table {table}", place.name))
    }
}
