//! Bridge ports and their VLANs.

use crate::wire::{Attributes, Request, flag_of, u16_at, u32_at};
use crate::{Netlink, Result};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    AfSpecBridge, BridgeFlag, BridgeVlanInfo, BridgeVlanInfoFlags, InfoBridgePort, InfoPortData,
    InfoPortKind, LinkAttribute, LinkInfo, LinkMessage,
};

/// Settings of a bridge port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortFlags {
    /// Whether packets may go out where they came in.
    pub hairpin: bool,
    /// Whether it is cut off from other isolated ports.
    pub isolated: bool,
}

impl PortFlags {
    pub(crate) fn kind(self) -> InfoPortKind {
        InfoPortKind::Bridge
    }

    pub(crate) fn data(self) -> LinkInfo {
        LinkInfo::PortData(InfoPortData::BridgePort(vec![
            InfoBridgePort::HairpinMode(self.hairpin),
            InfoBridgePort::Isolated(self.isolated),
        ]))
    }

    pub(crate) fn read(data: &[u8]) -> PortFlags {
        const MODE: u16 = 4;
        const ISOLATED: u16 = 33;
        let mut flags = PortFlags::default();
        for (kind, value) in Attributes::of(data) {
            match kind {
                MODE => flags.hairpin = flag_of(value),
                ISOLATED => flags.isolated = flag_of(value),
                _ => {}
            }
        }
        flags
    }
}

/// VLANs of a bridge port, or of a bridge itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VlanRange {
    /// The first ID.
    pub first: u16,
    /// The last ID; the same for a single VLAN.
    pub last: u16,
    /// Whether untagged packets that come in belong to it; for a single VLAN only.
    pub pvid: bool,
    /// Whether its packets leave without a tag.
    pub untagged: bool,
}

impl VlanRange {
    /// Tagged VLANs from `first` to `last`.
    pub fn tagged(first: u16, last: u16) -> VlanRange {
        VlanRange { first, last, pvid: false, untagged: false }
    }

    /// The VLAN of untagged packets, both ways.
    pub fn access(id: u16) -> VlanRange {
        VlanRange { first: id, last: id, pvid: true, untagged: true }
    }

    fn infos(self) -> Vec<AfSpecBridge> {
        let mut flags = BridgeVlanInfoFlags::empty();
        flags.set(BridgeVlanInfoFlags::Pvid, self.pvid);
        flags.set(BridgeVlanInfoFlags::Untagged, self.untagged);
        let info = |vid, flags| AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid });
        if self.first == self.last {
            return vec![info(self.first, flags)];
        }
        vec![
            info(self.first, flags | BridgeVlanInfoFlags::RangeBegin),
            info(self.last, flags | BridgeVlanInfoFlags::RangeEnd),
        ]
    }

    fn read(entry: &[u8]) -> Option<VlanRange> {
        const INFO: u16 = 1;
        const RANGE: u16 = 2;
        let mut range = None;
        for (kind, value) in Attributes::of(entry) {
            match (kind, &mut range) {
                (INFO, _) => {
                    let flags = BridgeVlanInfoFlags::from_bits_retain(u16_at(value, 0)?);
                    let id = u16_at(value, 2)?;
                    range = Some(VlanRange {
                        first: id,
                        last: id,
                        pvid: flags.contains(BridgeVlanInfoFlags::Pvid),
                        untagged: flags.contains(BridgeVlanInfoFlags::Untagged),
                    });
                }
                (RANGE, Some(range)) => range.last = u16_at(value, 0)?,
                _ => {}
            }
        }
        range
    }
}

/// A request about VLANs of a link: of a port, or with `own` of the bridge itself.
fn vlans(index: u32, ranges: &[VlanRange], own: bool) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.header.index = index;
    let mut list = Vec::new();
    if own {
        list.push(AfSpecBridge::Flags(BridgeFlag::LowerDev));
    }
    list.extend(ranges.iter().flat_map(|range| range.infos()));
    message.attributes.push(LinkAttribute::AfSpecBridge(list));
    message
}

impl Netlink {
    /// Adds VLANs to a bridge port, or with `own` to the bridge itself.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_vlans(&self, index: u32, ranges: &[VlanRange], own: bool) -> Result<()> {
        let request = Request::new(libc::RTM_SETLINK, &vlans(index, ranges, own));
        self.socket.borrow_mut().change(&request, 0, || format!("add VLANs to link {index}"))
    }

    /// Takes VLANs from a bridge port, or with `own` from the bridge itself. A VLAN that is not
    /// there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_vlans(&self, index: u32, ranges: &[VlanRange], own: bool) -> Result<()> {
        let request = Request::new(libc::RTM_DELLINK, &vlans(index, ranges, own));
        let op = || format!("delete VLANs of link {index}");
        match self.socket.borrow_mut().change(&request, 0, op) {
            Err(e) if e.errno == libc::ENOENT => Ok(()),
            other => other,
        }
    }

    /// The VLANs of a bridge or of a bridge port, in ascending order.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn vlans(&self, index: u32) -> Result<Vec<VlanRange>> {
        const RTM_GETVLAN: u16 = 114;
        const RTM_NEWVLAN: u16 = 112;
        const ENTRY: u16 = 1;
        const HEADER: usize = 8;
        // struct br_vlan_msg: family, three reserved bytes, index.
        let mut body = vec![u8::from(AddressFamily::Bridge), 0, 0, 0];
        body.extend_from_slice(&index.to_ne_bytes());
        let read = |kind, body: &[u8]| {
            // An old kernel does not filter.
            let mine = kind == RTM_NEWVLAN && u32_at(body, 4) == Some(index);
            let entries = Attributes::after(body, HEADER).filter(|(kind, _)| *kind == ENTRY);
            mine.then(|| entries.filter_map(|(_, v)| VlanRange::read(v)).collect::<Vec<_>>())
        };
        let op = || format!("list VLANs of link {index}");
        let request = Request::raw(RTM_GETVLAN, body);
        let lists = self.socket.borrow_mut().dump(&request, op, read)?;
        Ok(lists.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::Emitable;

    fn bytes(index: u32, ranges: &[VlanRange], own: bool) -> Vec<u8> {
        let message = vlans(index, ranges, own);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    /// The family header for link 1, and the bytes of the attribute with all VLANs.
    fn request(list: &[u8]) -> Vec<u8> {
        let mut bytes = vec![7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(list);
        bytes
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn requests_are_those_of_the_bridge_program() {
        // As iproute2 6.1 sends for `bridge vlan add dev lo ...`.
        let access = [12, 0, 26, 0, 8, 0, 2, 0, 6, 0, 100, 0];
        assert_eq!(bytes(1, &[VlanRange::access(100)], false), request(&access));
        let range = [20, 0, 26, 0, 8, 0, 2, 0, 8, 0, 10, 0, 8, 0, 2, 0, 16, 0, 12, 0];
        assert_eq!(bytes(1, &[VlanRange::tagged(10, 12)], false), request(&range));
        let own = [20, 0, 26, 0, 6, 0, 0, 0, 2, 0, 0, 0, 8, 0, 2, 0, 0, 0, 100, 0];
        assert_eq!(bytes(1, &[VlanRange::tagged(100, 100)], true), request(&own));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn entries_of_the_kernels_list_are_read() {
        // BRIDGE_VLANDB_ENTRY_INFO (flags, ID), BRIDGE_VLANDB_ENTRY_RANGE (last ID), and a state.
        let access = [8, 0, 1, 0, 6, 0, 100, 0];
        assert_eq!(VlanRange::read(&access), Some(VlanRange::access(100)));
        let range = [8, 0, 1, 0, 0, 0, 10, 0, 5, 0, 3, 0, 3, 0, 0, 0, 6, 0, 2, 0, 12, 0, 0, 0];
        assert_eq!(VlanRange::read(&range), Some(VlanRange::tagged(10, 12)));
        assert_eq!(VlanRange::read(&[5, 0, 3, 0, 3, 0, 0, 0]), None);
    }
}
