//! Sets, maps and their elements.

use super::expr::{Verdict, read_value, read_verdict, write_value, write_verdict};
use super::object::{Family, read_user_data, user_data};
use super::wire::{Attributes, Writer};

/// `nft`'s number of a data type: what makes `nft` print an element as it should.
/// A concatenation is `first << 6 | second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataType {
    /// `nft`'s number.
    pub number: u32,
    /// Bytes; the parts of a concatenation are padded to 4 each.
    pub len: u32,
}

impl DataType {
    /// An IPv4 address.
    pub const IPV4: DataType = DataType { number: 7, len: 4 };
    /// An IPv6 address.
    pub const IPV6: DataType = DataType { number: 8, len: 16 };
    /// The name of a link, padded with NULs.
    pub const LINK_NAME: DataType = DataType { number: 41, len: 16 };
    /// A transport protocol.
    pub const PROTOCOL: DataType = DataType { number: 12, len: 1 };
    /// A port.
    pub const SERVICE: DataType = DataType { number: 13, len: 2 };

    /// `self . next`
    #[must_use]
    pub const fn then(self, next: DataType) -> DataType {
        DataType {
            number: self.number << 6 | next.number,
            len: self.len.next_multiple_of(4) + next.len.next_multiple_of(4),
        }
    }
}

/// What a map gives for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapData {
    /// A value.
    Value(DataType),
    /// A verdict.
    Verdict,
}

/// The name of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetRef<'a> {
    /// Family of the table.
    pub family: Family,
    /// Name of the table.
    pub table: &'a str,
    /// Name.
    pub name: &'a str,
}

impl std::fmt::Display for SetRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.family.as_str(), self.table, self.name)
    }
}

/// A named set or map to be added.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// Name.
    pub at: SetRef<'a>,
    /// Type of the keys.
    pub key: DataType,
    /// Type of the data of a map; `None` for a set.
    pub data: Option<MapData>,
}

/// `NFT_SET_MAP`.
const FLAG_MAP: u32 = 8;
/// `NFT_DATA_VERDICT`: the type of a verdict map's data.
const TYPE_VERDICT: u32 = 0xffff_ff00;

/// User data of a set by which `nft` knows that keys are not in network order: entry 0, 4 bytes, 1
/// in machine order.
const HOST_ORDER: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};

impl Set<'_> {
    pub(crate) fn write(&self, w: &mut Writer, id: u32) {
        w.string(1, self.at.table);
        w.string(2, self.at.name);
        if self.data.is_some() {
            w.be32(3, FLAG_MAP);
        }
        w.be32(4, self.key.number);
        w.be32(5, self.key.len);
        match self.data {
            None => {}
            Some(MapData::Verdict) => w.be32(6, TYPE_VERDICT),
            Some(MapData::Value(data)) => {
                w.be32(6, data.number);
                w.be32(7, data.len);
            }
        }
        w.be32(10, id);
        if self.key == DataType::LINK_NAME {
            w.raw(13, &HOST_ORDER);
        }
    }
}

/// The data of a map's element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementData {
    /// A value.
    Value(Vec<u8>),
    /// A verdict.
    Verdict(Verdict),
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Key, in network order, parts padded to 4 bytes.
    pub key: Vec<u8>,
    /// Data, in a map.
    pub data: Option<ElementData>,
    /// Comment, at most 128 bytes.
    pub comment: Option<String>,
    /// Our tag.
    pub owner: Option<Vec<u8>>,
}

impl Element {
    /// An element of a set.
    pub fn key(key: impl Into<Vec<u8>>) -> Element {
        Element { key: key.into(), data: None, comment: None, owner: None }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.nest(1, |w| {
            write_value(w, 1, &self.key);
            match &self.data {
                None => {}
                Some(ElementData::Value(value)) => write_value(w, 2, value),
                Some(ElementData::Verdict(verdict)) => write_verdict(w, 2, verdict),
            }
            let data = user_data(self.comment.as_deref(), self.owner.as_deref());
            if !data.is_empty() {
                w.raw(6, &data);
            }
        });
    }

    pub(crate) fn read(element: Attributes<'_>) -> Option<Element> {
        let (comment, owner) = read_user_data(element.find(6));
        let data = element.nested(2).and_then(|data| {
            read_verdict(data)
                .map(ElementData::Verdict)
                .or_else(|| read_value(data).map(ElementData::Value))
        });
        Some(Element { key: element.nested(1).and_then(read_value)?, data, comment, owner })
    }
}
