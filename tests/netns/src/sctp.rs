//! INIT and INIT ACK of SCTP (RFC 9260), enough to be tracked and translated.

use crate::probe::raw;
use nix::sys::socket::{SockaddrIn, SockaddrIn6, recvfrom};
use socket2::{SockAddr, Socket};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const PROTOCOL: i32 = 132;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// Any non-zero tags do; the two ends differ so that a packet tells its direction.
const CLIENT_TAG: u32 = 0x0c11_0001;
const SERVER_TAG: u32 = 0x5e12_0001;
const COOKIE: u16 = 7;
/// Common header, chunk header, and the fixed part of INIT and INIT ACK.
const FIXED: usize = 12 + 4 + 16;

struct Packet {
    source_port: u16,
    target_port: u16,
    kind: u8,
    cookie: Vec<u8>,
}

/// A socket for [`answer`].
pub(crate) fn socket(family: IpAddr) -> io::Result<Socket> {
    raw(family, PROTOCOL)
}

/// Takes one packet and answers it if it is an INIT to `port`.
pub(crate) fn answer(socket: &mut Socket, port: u16, text: impl FnOnce(SocketAddr) -> String) {
    let Ok(Some((from, packet))) = receive(socket) else { return };
    if packet.kind != INIT || packet.target_port != port {
        return;
    }
    let cookie = text(SocketAddr::new(from, packet.source_port));
    let reply = build(&Packet {
        source_port: port,
        target_port: packet.source_port,
        kind: INIT_ACK,
        cookie: cookie.into_bytes(),
    });
    // An answer that cannot be sent is an answer that the client misses, and reports.
    drop(socket.send_to(&reply, &SockAddr::from(SocketAddr::new(from, 0))));
}

/// Sends one INIT and waits for its answer.
pub(crate) fn ask(port: u16, to: SocketAddr, limit: Duration) -> io::Result<(String, SocketAddr)> {
    let socket = raw(to.ip(), PROTOCOL)?;
    socket.connect(&SockAddr::from(SocketAddr::new(to.ip(), 0)))?;
    let init = Packet { source_port: port, target_port: to.port(), kind: INIT, cookie: Vec::new() };
    socket.send(&build(&init))?;
    let local = socket.local_addr()?.as_socket().map_or(to.ip(), |a| a.ip());
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let Some((_, packet)) = receive(&socket)? else { continue };
        if packet.kind == INIT_ACK && packet.target_port == port {
            let text = String::from_utf8_lossy(&packet.cookie).into_owned();
            return Ok((text, SocketAddr::new(local, port)));
        }
    }
}

/// One packet and its sender; `None` if it is not one of the two kinds.
fn receive(socket: &Socket) -> io::Result<Option<(IpAddr, Packet)>> {
    let mut buffer = [0_u8; 2048];
    let v4 = socket.domain()? == socket2::Domain::IPV4;
    let (length, from) = if v4 {
        let (n, from) = take::<SockaddrIn>(socket, &mut buffer)?;
        (n, from.map(|a| IpAddr::V4(a.ip())))
    } else {
        let (n, from) = take::<SockaddrIn6>(socket, &mut buffer)?;
        (n, from.map(|a| IpAddr::V6(a.ip())))
    };
    let Some(from) = from else { return Ok(None) };
    let skip = if v4 { usize::from(buffer[0] & 15) * 4 } else { 0 };
    Ok(parse(&buffer[skip.min(length)..length]).map(|packet| (from, packet)))
}

fn take<A: nix::sys::socket::SockaddrLike>(
    socket: &Socket,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<A>)> {
    Ok(recvfrom::<A>(socket.as_raw_fd(), buffer)?)
}

fn parse(bytes: &[u8]) -> Option<Packet> {
    if bytes.len() < FIXED || !matches!(bytes[12], INIT | INIT_ACK) {
        return None;
    }
    let cookie = bytes.get(FIXED + 4..).unwrap_or_default();
    let length = bytes.get(FIXED + 2..FIXED + 4).map_or(0, |l| u16::from_be_bytes([l[0], l[1]]));
    let cookie = &cookie[..usize::from(length).saturating_sub(4).min(cookie.len())];
    Some(Packet {
        source_port: u16::from_be_bytes([bytes[0], bytes[1]]),
        target_port: u16::from_be_bytes([bytes[2], bytes[3]]),
        kind: bytes[12],
        cookie: cookie.to_vec(),
    })
}

fn build(packet: &Packet) -> Vec<u8> {
    // INIT goes with verification tag 0; INIT ACK with the tag of the INIT (section 8.5.1).
    let (tag, own) = if packet.kind == INIT { (0, CLIENT_TAG) } else { (CLIENT_TAG, SERVER_TAG) };
    let with_cookie = if packet.cookie.is_empty() { 0 } else { 4 + packet.cookie.len() };
    let length = u16::try_from(20 + with_cookie).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(FIXED + with_cookie + 3);
    bytes.extend(packet.source_port.to_be_bytes());
    bytes.extend(packet.target_port.to_be_bytes());
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0; 4]); // checksum, filled in below
    bytes.extend([packet.kind, 0]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(own.to_be_bytes());
    bytes.extend(65_536_u32.to_be_bytes()); // receiver window, in bytes
    bytes.extend([0, 1, 0, 1]); // one stream each way
    bytes.extend(1_u32.to_be_bytes()); // first sequence number
    if with_cookie > 0 {
        bytes.extend(COOKIE.to_be_bytes());
        bytes.extend(u16::try_from(with_cookie).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(&packet.cookie);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let sum = crc32c(&bytes).to_le_bytes();
    bytes[8..12].copy_from_slice(&sum);
    bytes
}

/// Castagnoli's CRC, bit by bit; packets are short.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn an_answer_is_read_back() {
        let packet =
            Packet { source_port: 7, target_port: 9, kind: INIT_ACK, cookie: b"abcde".to_vec() };
        let read = parse(&build(&packet)).expect("a packet");
        assert_eq!((read.source_port, read.target_port), (7, 9));
        assert_eq!(read.cookie, b"abcde");
    }
}
