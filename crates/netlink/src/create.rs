//! Links: made.

use crate::wire::Request;
use crate::{Link, Mac, Netlink, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoMacVlan, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage, MacVlanMode,
};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A bridge to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bridge<'a> {
    /// Its name.
    pub name: &'a str,
    /// In bytes; the kernel's choice where absent.
    pub mtu: Option<u32>,
    /// Its address; the kernel's choice where absent, and then that of a port.
    pub mac: Option<Mac>,
    /// Whether it keeps VLANs apart.
    pub vlan_filtering: bool,
    /// Whether it is set up at once.
    pub up: bool,
}

/// A virtual Ethernet pair to be made: this end.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// The name of this end.
    pub name: &'a str,
    /// In bytes, for both ends; the kernel's choice where absent.
    pub mtu: Option<u32>,
    /// The address of this end; random where absent.
    pub mac: Option<Mac>,
    /// The index of the bridge that this end joins.
    pub master: Option<u32>,
    /// Whether this end is set up at once.
    pub up: bool,
    /// The other end.
    pub peer: Peer<'a>,
}

/// A virtual Ethernet pair to be made: the other end.
///
/// The kernel refuses to make this end up: it has no partner yet at that moment.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The name of the other end.
    pub name: &'a str,
    /// The namespace it is made in; this one where absent.
    pub namespace: Option<BorrowedFd<'a>>,
    /// The address of the other end; random where absent.
    pub mac: Option<Mac>,
}

/// A MAC-based virtual interface to be made on top of another link.
#[derive(Clone, Copy, Debug)]
pub struct MacVlan<'a> {
    /// Its name.
    pub name: &'a str,
    /// The index of the link below it, in this namespace.
    pub parent: u32,
    /// Whom it speaks with.
    pub mode: MacVlanKind,
    /// In bytes; that of the link below where absent.
    pub mtu: Option<u32>,
    /// Its address; random where absent.
    pub mac: Option<Mac>,
    /// Length of the queue for broadcasts, in packets; the kernel's choice where absent.
    pub broadcast_queue: Option<u32>,
    /// The namespace it is made in; this one where absent.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// Whom an interface on top of a link speaks with, beside what is behind that link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacVlanKind {
    /// The others on the link, directly.
    Bridge,
    /// Nobody on the link.
    Private,
    /// The others on the link, by way of a switch that sends packets back.
    Vepa,
    /// It has the link for itself.
    Passthrough,
}

impl Netlink {
    /// Makes a bridge.
    ///
    /// # Errors
    /// With EEXIST if the name is taken, and when the kernel refuses.
    pub fn create_bridge(&self, bridge: &Bridge<'_>) -> Result<()> {
        let mut message = named(bridge.name, bridge.mtu, bridge.mac, bridge.up);
        // VLAN filtering is asked for only when it is needed: a kernel built without it refuses.
        let data =
            if bridge.vlan_filtering { vec![InfoBridge::VlanFiltering(true)] } else { vec![] };
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(data)),
        ]));
        self.create(message, || format!("create bridge {}", bridge.name))
    }

    /// Makes a virtual Ethernet pair with one request: both ends are in their namespaces under
    /// their final names from the beginning, so nothing has to be moved or renamed, and no
    /// observer sees a half-made pair.
    ///
    /// # Errors
    /// With EEXIST if a name is taken, and when the kernel refuses; nothing is made then.
    pub fn create_veth(&self, veth: &Veth<'_>) -> Result<()> {
        let mut peer = named(veth.peer.name, veth.mtu, veth.peer.mac, false);
        peer.attributes
            .extend(veth.peer.namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        let mut message = named(veth.name, veth.mtu, veth.mac, veth.up);
        message.attributes.extend(veth.master.map(LinkAttribute::Controller));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.create(message, || format!("create veth {} with peer {}", veth.name, veth.peer.name))
    }

    /// Makes a MAC-based virtual interface.
    ///
    /// # Errors
    /// With EEXIST if the name is taken, EBUSY if the link below is a bridge port, and when the
    /// kernel refuses.
    pub fn create_macvlan(&self, wish: &MacVlan<'_>) -> Result<()> {
        let mut message = named(wish.name, wish.mtu, wish.mac, false);
        message.attributes.push(LinkAttribute::Link(wish.parent));
        message.attributes.extend(wish.namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        let mode = match wish.mode {
            MacVlanKind::Bridge => MacVlanMode::Bridge,
            MacVlanKind::Private => MacVlanMode::Private,
            MacVlanKind::Vepa => MacVlanMode::Vepa,
            MacVlanKind::Passthrough => MacVlanMode::Passthrough,
        };
        let mut data = vec![InfoMacVlan::Mode(mode)];
        data.extend(wish.broadcast_queue.map(InfoMacVlan::BcQueueLen));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(data)),
        ]));
        self.create(message, || format!("create macvlan {}", wish.name))
    }

    /// The bridge called `bridge.name`, made if it is missing.
    ///
    /// Any number of callers may do this at once. The link that is found may be of another kind
    /// or have other settings.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ensure_bridge(&self, bridge: &Bridge<'_>) -> Result<Link> {
        if let Some(link) = self.link_by_name(bridge.name)? {
            return Ok(link);
        }
        match self.create_bridge(bridge) {
            Err(e) if !e.is_exists() => Err(e),
            _ => self.expect_link(bridge.name),
        }
    }

    /// Makes the bridge with this index keep VLANs apart, or stop doing so.
    ///
    /// # Errors
    /// When the kernel refuses, or has no VLAN filtering.
    pub fn set_vlan_filtering(&self, bridge: u32, on: bool) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = bridge;
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(on)])),
        ]));
        let request = Request::new(libc::RTM_NEWLINK, &message);
        let op = || format!("set VLAN filtering of link {bridge}");
        self.socket.borrow_mut().change(&request, 0, op)
    }

    pub(crate) fn create(&self, message: LinkMessage, op: impl Fn() -> String) -> Result<()> {
        let request = Request::new(libc::RTM_NEWLINK, &message);
        self.socket.borrow_mut().change(&request, NLM_F_CREATE | NLM_F_EXCL, op)
    }
}

/// A link of this name, up or down.
pub(crate) fn named(name: &str, mtu: Option<u32>, mac: Option<Mac>, up: bool) -> LinkMessage {
    let mut message = LinkMessage::default();
    if up {
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
    }
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    message
}
