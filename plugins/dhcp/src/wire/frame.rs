//! UDP over IPv4 over Ethernet, by hand: a client without an address has no other way.

use std::net::Ipv4Addr;

/// Everybody on the link.
pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;

/// Whom a datagram is from, or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Hardware address.
    pub(crate) mac: [u8; 6],
    /// IP address.
    pub(crate) ip: Ipv4Addr,
    /// UDP port.
    pub(crate) port: u16,
}

/// A whole Ethernet frame with one datagram.
pub(crate) fn build(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET + IPV4 + UDP + payload.len());
    frame.extend(to.mac);
    frame.extend(from.mac);
    frame.extend([0x08, 0x00]);
    let length = |more: usize| u16::try_from(more + payload.len()).unwrap_or(u16::MAX);
    let mut ip = vec![0x45, 0x10];
    ip.extend(length(IPV4 + UDP).to_be_bytes());
    // Number 0, not to be fragmented, 64 hops, UDP, and room for the sum.
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(from.ip.octets());
    ip.extend(to.ip.octets());
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp = Vec::with_capacity(UDP);
    for word in [from.port, to.port, length(UDP), 0] {
        udp.extend(word.to_be_bytes());
    }
    let mut pseudo = vec![0, 17];
    pseudo.extend(length(UDP).to_be_bytes());
    // A sum of zero would say that there is none.
    let sum = match checksum(&[&ip[12..20], &pseudo, &udp, payload]) {
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    frame.extend(udp);
    frame.extend(payload);
    frame
}

/// The datagram of a frame: whom it is from, and what it says. `None` for anything else.
///
/// Sums are not looked at: between two namespaces of a node the kernel leaves them undone.
pub(crate) fn read(frame: &[u8]) -> Option<(End, u16, &[u8])> {
    let (head, ip) = frame.split_at_checked(ETHERNET)?;
    if head[12..14] != [0x08, 0x00] {
        return None;
    }
    let first = *ip.first()?;
    let options = usize::from(first & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    let fragment = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x3fff;
    if first >> 4 != 4 || options < IPV4 || *ip.get(9)? != 17 || fragment != 0 {
        return None;
    }
    let source: [u8; 4] = ip.get(12..16)?.try_into().ok()?;
    // A short frame is padded by the link.
    let udp = ip.get(options..total)?;
    let (ports, payload) = udp.split_at_checked(UDP)?;
    let length = usize::from(u16::from_be_bytes([ports[4], ports[5]])).checked_sub(UDP)?;
    let mac: [u8; 6] = head[6..12].try_into().ok()?;
    let port = u16::from_be_bytes([ports[0], ports[1]]);
    let to = u16::from_be_bytes([ports[2], ports[3]]);
    Some((End { mac, ip: source.into(), port }, to, payload.get(..length)?))
}

/// The internet checksum (RFC 1071) over pieces, of which only the last may be of odd length.
fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for pair in pieces.iter().flat_map(|piece| piece.chunks(2)) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default());
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (End, End) {
        let from = End { mac: [2, 0, 0, 0, 0, 1], ip: Ipv4Addr::UNSPECIFIED, port: 68 };
        (from, End { mac: BROADCAST, ip: Ipv4Addr::BROADCAST, port: 67 })
    }

    #[test]
    fn a_frame_reads_back() {
        let (from, to) = ends();
        let mut frame = build(from, to, b"hello");
        // The sum over a header that has its sum is zero.
        assert_eq!(checksum(&[&frame[14..34]]), 0);
        let pseudo = [&frame[26..34], &[0, 17, 0, 13][..], &frame[34..]].concat();
        assert_eq!(checksum(&[&pseudo]), 0);
        frame.extend([0; 20]);
        assert_eq!(read(&frame), Some((from, 67, &b"hello"[..])));
    }

    #[test]
    fn what_is_cut_or_something_else_is_nothing() {
        let (from, to) = ends();
        let whole = build(from, to, b"hello");
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), None, "{end} bytes");
        }
        for (at, value) in [(12, 0x86), (14, 0x65), (14, 0x44), (20, 0x20), (23, 6)] {
            let mut other = whole.clone();
            other[at] = value;
            assert_eq!(read(&other), None, "byte {at}");
        }
    }
}
