//! Echo requests over IPv4 and IPv6.

use crate::PATIENCE;
use crate::enter::Ns;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{Read, Result};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How long one request waits for its answer.
const ROUND: Duration = Duration::from_millis(100);

impl Ns {
    /// Pings until an answer comes.
    ///
    /// # Errors
    /// No answer within [`PATIENCE`]; the text names both ends and the last error.
    pub fn ping(&self, to: IpAddr) -> std::result::Result<(), String> {
        self.ping_within(to, PATIENCE)
    }

    /// As [`Ns::ping`], for as long as `limit`. A short one proves that nobody answers.
    ///
    /// # Errors
    /// No answer within `limit`.
    pub fn ping_within(&self, to: IpAddr, limit: Duration) -> std::result::Result<(), String> {
        self.run(|| {
            let start = Instant::now();
            let mut last = String::from("no answer");
            let mut sequence = 0;
            while start.elapsed() < limit {
                sequence += 1;
                match round(to, sequence) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(e) => {
                        last = e.to_string();
                        // Unreachable is said at once; it may pass when a link or address is ready.
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            }
            Err(format!("ping {} -> {to}: {last} within {limit:?}", self.name()))
        })
    }
}

/// One request; whether it was answered.
fn round(to: IpAddr, sequence: u16) -> Result<bool> {
    let (domain, protocol) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let mut socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.connect(&SockAddr::from(SocketAddr::new(to, 0)))?;
    let [high, low] = sequence.to_be_bytes();
    let [id_high, id_low] = u16::try_from(std::process::id() & 0xffff).unwrap_or(1).to_be_bytes();
    let (request, answer) = if to.is_ipv4() { (8, 0) } else { (128, 129) };
    let mut packet = [request, 0, 0, 0, id_high, id_low, high, low, b'p', b'o', b'd', b's'];
    if to.is_ipv4() {
        // The kernel fills in the checksum of ICMPv6 only.
        let sum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&sum);
    }
    socket.send(&packet)?;
    let deadline = Instant::now() + ROUND;
    let mut buffer = [0_u8; 512];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.read(&mut buffer) {
            Ok(length) => length,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        };
        let skip = if to.is_ipv4() { usize::from(buffer[0] & 15) * 4 } else { 0 };
        let message = &buffer[skip.min(length)..length];
        if message.len() >= 8 && message[0] == answer && message[4..8] == packet[4..8] {
            return Ok(true);
        }
    }
}

/// The Internet checksum of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
