//! Bytes of messages and attributes.

use netlink_packet_core::Emitable;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of a message header.
pub(crate) const HEADER: usize = 16;

/// A request: message type and body (family header and attributes).
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A request of type `kind`. That the type is a parameter keeps the messages that this crate
    /// never sends out of the program, which one type for all of them would bring in.
    pub(crate) fn new(kind: u16, message: &impl Emitable) -> Request {
        let mut body = vec![0; message.buffer_len()];
        message.emit(&mut body);
        Request { kind, body }
    }

    /// A request that `netlink-packet-route` has no type for.
    pub(crate) fn raw(kind: u16, body: Vec<u8>) -> Request {
        Request { kind, body }
    }
}

/// Attributes of a message body: type without its flag bits, value.
///
/// It ends early at an attribute that claims more bytes than there are.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes after a family header of `header` bytes.
    pub(crate) fn after(body: &'a [u8], header: usize) -> Attributes<'a> {
        Attributes(body.get(header..).unwrap_or_default())
    }

    pub(crate) fn of(value: &'a [u8]) -> Attributes<'a> {
        Attributes(value)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const TYPE: u16 = 0x3fff;
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & TYPE;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// Appends an attribute.
pub(crate) fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Appends a string attribute.
pub(crate) fn put_text(body: &mut Vec<u8>, kind: u16, value: &str) {
    let mut bytes = value.as_bytes().to_vec();
    bytes.push(0);
    put(body, kind, &bytes);
}

/// Appends an attribute that holds attributes.
pub(crate) fn put_nested(body: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    put(body, kind, &inner);
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}

/// An integer attribute; 0 if it is too short.
pub(crate) fn u32_of(value: &[u8]) -> u32 {
    u32_at(value, 0).unwrap_or_default()
}

/// A boolean attribute.
pub(crate) fn flag_of(value: &[u8]) -> bool {
    value.first().is_some_and(|b| *b != 0)
}

/// A string attribute, without its closing zero.
pub(crate) fn text_of(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// An address attribute of either family.
pub(crate) fn ip_of(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => array::<4>(value, 0).map(|b| IpAddr::V4(Ipv4Addr::from(b))),
        16 => array::<16>(value, 0).map(|b| IpAddr::V6(Ipv6Addr::from(b))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_walked_to_the_last_whole_one() {
        let bytes = [5, 0, 3, 0x80, 9, 0, 0, 0, 8, 0, 1, 0, 1, 0, 0, 0, 9, 0, 1, 0, 1];
        let seen: Vec<_> = Attributes::of(&bytes).collect();
        assert_eq!(seen, [(3, &[9_u8][..]), (1, &[1, 0, 0, 0][..])]);
        assert_eq!(Attributes::of(&[0, 0, 0, 0]).next(), None);
        assert_eq!(Attributes::after(&[1], 4).next(), None);
        assert_eq!(u32_of(seen[1].1), 1);
        assert_eq!(text_of(b"eth0\0x"), "eth0");
        assert_eq!(ip_of(&[10, 0, 0, 1]), Some(IpAddr::from([10, 0, 0, 1])));
        assert_eq!(ip_of(&[1]), None);
    }
}
