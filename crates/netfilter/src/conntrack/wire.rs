//! ctnetlink messages (linux/netfilter/nfnetlink_conntrack.h).

use super::{Entry, Family, Filter, Tuple};
use nix::errno::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;
const GENERIC: usize = 4;

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const TUPLE_ZONE: u16 = 3;
const V4_SRC: u16 = 1;
const V4_DST: u16 = 2;
const V6_SRC: u16 = 3;
const V6_DST: u16 = 4;
const PROTO_NUM: u16 = 1;
const PROTO_SRC_PORT: u16 = 2;
const PROTO_DST_PORT: u16 = 3;
const FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_REPLY_FLAGS: u16 = 2;

/// Which fields of a tuple the kernel compares (net/netfilter/nf_internals.h).
const BY_SRC: u32 = 1 << 0;
const BY_DST: u32 = 1 << 1;
const BY_PROTO: u32 = 1 << 3;
const BY_DST_PORT: u32 = 1 << 5;

/// A request for all entries of `family`, or for those of `filter`. Its number is still 0.
pub(super) fn dump(family: Family, filter: Option<&Filter>) -> Vec<u8> {
    let mut out = header(GET, NLM_F_REQUEST | NLM_F_DUMP, family);
    if let Some(filter) = filter {
        put_filter(&mut out, family, filter);
    }
    finish(out)
}

/// A request to remove all entries that match `filter`. Its number is still 0.
///
/// Kernels before 6.11 take the tuple for that of one entry and refuse it, as it names no
/// sender: they never remove more than was asked for.
pub(super) fn sweep(family: Family, filter: &Filter) -> Vec<u8> {
    let mut out = header(DELETE, NLM_F_REQUEST | NLM_F_ACK, family);
    put_filter(&mut out, family, filter);
    finish(out)
}

/// Only protocol and port of an IPv6 filter are sent: the kernels of today take the result of
/// comparing two IPv6 addresses the wrong way round, and leave out just what is wanted.
fn put_filter(out: &mut Vec<u8>, family: Family, filter: &Filter) {
    let by_address = |address: Option<IpAddr>| address.filter(|_| family == Family::V4);
    let mut orig = BY_PROTO;
    nest(out, TUPLE_ORIG, |out| {
        nest(out, TUPLE_IP, |out| {
            if let Some(to) = by_address(filter.to) {
                orig |= BY_DST;
                put_address(out, to, V4_DST, V6_DST);
            }
        });
        nest(out, TUPLE_PROTO, |out| {
            attribute(out, PROTO_NUM, &[filter.protocol]);
            if let Some(port) = filter.to_port {
                orig |= BY_DST_PORT;
                attribute(out, PROTO_DST_PORT, &port.to_be_bytes());
            }
        });
    });
    let mut reply = 0;
    if let Some(from) = by_address(filter.answered_by) {
        reply = BY_SRC;
        nest(out, TUPLE_REPLY, |out| {
            nest(out, TUPLE_IP, |out| put_address(out, from, V4_SRC, V6_SRC));
        });
    }
    nest(out, FILTER, |out| {
        attribute(out, FILTER_ORIG_FLAGS, &orig.to_ne_bytes());
        attribute(out, FILTER_REPLY_FLAGS, &reply.to_ne_bytes());
    });
}

/// A request to remove exactly `entry`. Its number is still 0.
pub(super) fn delete(family: Family, entry: &Entry) -> Vec<u8> {
    let mut out = header(DELETE, NLM_F_REQUEST | NLM_F_ACK, family);
    nest(&mut out, TUPLE_ORIG, |out| {
        nest(out, TUPLE_IP, |out| {
            put_address(out, entry.original.from, V4_SRC, V6_SRC);
            put_address(out, entry.original.to, V4_DST, V6_DST);
        });
        nest(out, TUPLE_PROTO, |out| {
            attribute(out, PROTO_NUM, &[entry.protocol]);
            attribute(out, PROTO_SRC_PORT, &entry.original.from_port.to_be_bytes());
            attribute(out, PROTO_DST_PORT, &entry.original.to_port.to_be_bytes());
        });
    });
    if entry.zone != 0 {
        attribute(&mut out, ZONE, &entry.zone.to_be_bytes());
    }
    attribute(&mut out, ID, &entry.id.to_be_bytes());
    finish(out)
}

/// Writes the sequence number into a finished request.
pub(super) fn number(request: &mut [u8], sequence: u32) {
    if let Some(place) = request.get_mut(8..12) {
        place.copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// Whether the kernel knows ctnetlink but not the filter it was given.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    [Errno::EOPNOTSUPP, Errno::EINVAL].iter().any(|e| error.raw_os_error() == Some(*e as i32))
}

fn header(kind: u16, flags: u16, family: Family) -> Vec<u8> {
    let family = match family {
        Family::V4 => 2,  // AF_INET
        Family::V6 => 10, // AF_INET6
    };
    let mut out = Vec::with_capacity(192);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[family, 0, 0, 0]);
    out
}

fn finish(mut out: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&length.to_ne_bytes());
    out
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn nest(out: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    attribute(out, kind | NESTED, &[]);
    fill(out);
    let length = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
    out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

fn put_address(out: &mut Vec<u8>, address: IpAddr, v4: u16, v6: u16) {
    match address {
        IpAddr::V4(address) => attribute(out, v4, &address.octets()),
        IpAddr::V6(address) => attribute(out, v6, &address.octets()),
    }
}

/// One message of the kernel's answer.
pub(super) struct Message<'a> {
    kind: u16,
    pub(super) sequence: u32,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// `Some(errno)` for an end of the answer (0: success), `None` for an entry.
    pub(super) fn status(&self) -> io::Result<Option<i32>> {
        match self.kind {
            NLMSG_ERROR => int(self.body).map(|code| Some(code.wrapping_neg())),
            // The end of a dump carries a status since 3.x; an absent one is success.
            NLMSG_DONE => Ok(Some(int(self.body).unwrap_or(0).wrapping_neg())),
            _ => Ok(None),
        }
    }

    /// The entry, unless it is of a protocol without ports.
    pub(super) fn entry(&self) -> Option<Entry> {
        let (mut original, mut reply, mut zone, mut id) = (None, None, 0, 0);
        for (kind, value) in attributes(self.body.get(GENERIC..)?) {
            match kind {
                TUPLE_ORIG => original = tuple(value),
                TUPLE_REPLY => reply = tuple(value),
                ZONE => zone = u16::from_be_bytes(value.try_into().ok()?),
                ID => id = u32::from_be_bytes(value.try_into().ok()?),
                _ => {}
            }
        }
        let (protocol, original, own_zone) = original?;
        let (_, reply, _) = reply?;
        Some(Entry { protocol, original, reply, zone: if zone == 0 { own_zone } else { zone }, id })
    }
}

/// The messages in one datagram.
pub(super) fn messages(mut data: &[u8]) -> impl Iterator<Item = io::Result<Message<'_>>> {
    std::iter::from_fn(move || {
        if data.len() < HEADER {
            return None;
        }
        let length = u32::from_ne_bytes(data[..4].try_into().ok()?) as usize;
        if length < HEADER || length > data.len() {
            data = &[];
            return Some(Err(io::Error::from(io::ErrorKind::InvalidData)));
        }
        let message = Message {
            kind: u16::from_ne_bytes(data[4..6].try_into().ok()?),
            sequence: u32::from_ne_bytes(data[8..12].try_into().ok()?),
            body: &data[HEADER..length],
        };
        data = &data[length.next_multiple_of(4).min(data.len())..];
        Some(Ok(message))
    })
}

fn int(body: &[u8]) -> io::Result<i32> {
    body.get(..4)
        .and_then(|b| b.try_into().ok())
        .map(i32::from_ne_bytes)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn attributes(mut data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(data.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(data.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = data.get(4..length)?;
        data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn tuple(data: &[u8]) -> Option<(u8, Tuple, u16)> {
    let (mut from, mut to, mut protocol, mut from_port, mut to_port, mut zone) =
        (None, None, None, None, None, 0);
    for (kind, value) in attributes(data) {
        match kind {
            TUPLE_IP => {
                for (kind, value) in attributes(value) {
                    match kind {
                        V4_SRC | V6_SRC => from = address(value),
                        V4_DST | V6_DST => to = address(value),
                        _ => {}
                    }
                }
            }
            TUPLE_PROTO => {
                for (kind, value) in attributes(value) {
                    match kind {
                        PROTO_NUM => protocol = value.first().copied(),
                        PROTO_SRC_PORT => from_port = port(value),
                        PROTO_DST_PORT => to_port = port(value),
                        _ => {}
                    }
                }
            }
            TUPLE_ZONE => zone = port(value)?,
            _ => {}
        }
    }
    let tuple = Tuple { from: from?, to: to?, from_port: from_port?, to_port: to_port? };
    Some((protocol?, tuple, zone))
}

fn port(value: &[u8]) -> Option<u16> {
    value.try_into().ok().map(u16::from_be_bytes)
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(|b| IpAddr::V4(Ipv4Addr::from(b))),
        16 => <[u8; 16]>::try_from(value).ok().map(|b| IpAddr::V6(Ipv6Addr::from(b))),
        _ => None,
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
