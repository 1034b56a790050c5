//! Links: changed and deleted.

use crate::bridge::PortFlags;
use crate::wire::Request;
use crate::{Mac, Netlink, Result};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use std::os::fd::BorrowedFd;

/// What [`Netlink::change`] changes, all in one request; the default changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// Sets it up or down.
    pub up: Option<bool>,
    /// Takes all packets, or only its own.
    pub promiscuous: Option<bool>,
    /// Takes all multicast packets, or only those of its groups.
    pub all_multicast: Option<bool>,
    /// A new name; the link must be down.
    pub name: Option<&'a str>,
    /// A new alias; empty takes it away.
    pub alias: Option<&'a str>,
    /// A new Ethernet address.
    pub mac: Option<Mac>,
    /// A new MTU, in bytes.
    pub mtu: Option<u32>,
    /// A new length of the queue for what it sends, in packets.
    pub queue_length: Option<u32>,
    /// Joins the bridge with this index; 0 leaves.
    pub master: Option<u32>,
    /// Bridge port settings; the link must be a port already or become one with this request.
    pub port: Option<PortFlags>,
    /// Whether IPv6 makes a link-local address when the link comes up.
    pub link_local: Option<bool>,
    /// Moves it to another namespace.
    pub namespace: Option<BorrowedFd<'a>>,
}

impl Change<'_> {
    fn message(&self, index: u32) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let flags = [
            (LinkFlags::Up, self.up),
            (LinkFlags::Promisc, self.promiscuous),
            (LinkFlags::Allmulti, self.all_multicast),
        ];
        for (flag, wanted) in flags {
            if let Some(on) = wanted {
                message.header.change_mask |= flag;
                message.header.flags.set(flag, on);
            }
        }
        message.attributes = self.attributes();
        message
    }

    fn attributes(&self) -> Vec<LinkAttribute> {
        use std::os::fd::AsRawFd;
        let mut list = Vec::new();
        list.extend(self.name.map(|name| LinkAttribute::IfName(name.to_owned())));
        list.extend(self.alias.map(|alias| LinkAttribute::IfAlias(alias.to_owned())));
        list.extend(self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        list.extend(self.mtu.map(LinkAttribute::Mtu));
        list.extend(self.queue_length.map(LinkAttribute::TxQueueLen));
        list.extend(self.master.map(LinkAttribute::Controller));
        list.extend(self.namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        list.extend(self.link_local.map(|on| {
            let mode = if on { In6AddrGenMode::Eui64 } else { In6AddrGenMode::None };
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                mode,
            )])])
        }));
        if let Some(port) = self.port {
            list.push(LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(port.kind()), port.data()]));
        }
        list
    }
}

impl Netlink {
    /// Changes the link with this index.
    ///
    /// # Errors
    /// When the kernel refuses; what comes before the refused part may have been changed.
    pub fn change(&self, index: u32, change: &Change<'_>) -> Result<()> {
        // RTM_NEWLINK without NLM_F_CREATE, unlike RTM_SETLINK, takes bridge port settings.
        let request = Request::new(libc::RTM_NEWLINK, &change.message(index));
        let op = || format!("change link {index}");
        self.socket.borrow_mut().change(&request, 0, op)
    }

    /// Sets a link up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_up(&self, index: u32) -> Result<()> {
        self.change(index, &Change { up: Some(true), ..Change::default() })
    }

    /// Sets a link down.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_down(&self, index: u32) -> Result<()> {
        self.change(index, &Change { up: Some(false), ..Change::default() })
    }

    /// Deletes the link with this index; says whether there was one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_link(&self, index: u32) -> Result<bool> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.delete(message, || format!("delete link {index}"))
    }

    /// Deletes the link called `name`; says whether there was one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_link_by_name(&self, name: &str) -> Result<bool> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.delete(message, || format!("delete link {name}"))
    }

    fn delete(&self, message: LinkMessage, op: impl Fn() -> String) -> Result<bool> {
        let request = Request::new(libc::RTM_DELLINK, &message);
        match self.socket.borrow_mut().change(&request, 0, op) {
            Ok(()) => Ok(true),
            Err(e) if e.errno == libc::ENODEV => Ok(false),
            Err(e) => Err(e),
        }
    }
}
