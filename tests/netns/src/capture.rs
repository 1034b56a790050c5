//! Packet capture inside a namespace.

use crate::enter::Ns;
use crate::probe::ready;
use nix::sys::socket::{LinkAddr, MsgFlags, recvfrom, sendto};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// `ETH_P_ALL` of `linux/if_ether.h`.
const ALL_PROTOCOLS: u16 = 3;
/// `PACKET_OUTGOING` of `linux/if_packet.h`.
const OUTGOING: u8 = 4;

type Frames = Arc<(Mutex<Vec<Frame>>, Condvar)>;

/// All frames that pass a namespace's links, until it is dropped.
#[derive(Debug)]
pub struct Capture {
    frames: Frames,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// One frame as a link saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Index of the link.
    pub link: usize,
    /// Whether the namespace sent it.
    pub outgoing: bool,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
}

impl Ns {
    /// Starts to capture on all links of the namespace.
    ///
    /// # Panics
    /// When the kernel refuses the socket.
    pub fn capture(&self) -> Capture {
        let protocol = Protocol::from(i32::from(ALL_PROTOCOLS.to_be()));
        let socket = self.run(|| Socket::new(Domain::PACKET, Type::RAW, Some(protocol)));
        let socket = socket.unwrap_or_else(|e| panic!("capture in {}: {e}", self.name()));
        let (stop, stopped) = UnixStream::pair().expect("a socket pair");
        let frames = Frames::default();
        let shared = Arc::clone(&frames);
        let thread = self.thread(move || collect(&socket, &stopped, &shared));
        Capture { frames, stop: Some(stop), thread: Some(thread) }
    }

    /// Sends a frame by one of the namespace's links, as it is.
    ///
    /// # Panics
    /// When there is no such link, or the kernel refuses.
    pub fn send_frame(&self, link: &str, bytes: &[u8]) {
        self.run(|| {
            let all = nix::ifaddrs::getifaddrs().expect("the links");
            let of_link = all.filter(|entry| entry.interface_name == link);
            let to = of_link.filter_map(|entry| entry.address?.as_link_addr().copied()).next();
            let to = to.unwrap_or_else(|| panic!("{}: no link {link}", self.name()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, None).expect("a packet socket");
            let sent = sendto(socket.as_raw_fd(), bytes, &to, MsgFlags::empty());
            sent.unwrap_or_else(|e| panic!("{}: a frame by {link}: {e}", self.name()));
        });
    }
}

impl Capture {
    /// The first frame that `wanted` accepts, captured already or still to come.
    pub fn find(&self, limit: Duration, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        let deadline = Instant::now() + limit;
        let (lock, arrived) = &*self.frames;
        let mut frames = lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(frame) = frames.iter().find(|f| wanted(f)) {
                return Some(frame.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            frames = arrived.wait_timeout(frames, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All frames so far.
    pub fn frames(&self) -> Vec<Frame> {
        self.frames.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Frame {
    /// The Ethernet type, such as 0x0806 for ARP.
    pub fn ether_type(&self) -> Option<u16> {
        self.bytes.get(12..14).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// Source, destination and protocol number of an IP packet.
    pub fn ip(&self) -> Option<(IpAddr, IpAddr, u8)> {
        match self.ether_type()? {
            0x0800 => {
                let part =
                    |at: usize| -> Option<[u8; 4]> { self.bytes.get(at..at + 4)?.try_into().ok() };
                let (from, to) = (Ipv4Addr::from(part(26)?), Ipv4Addr::from(part(30)?));
                Some((from.into(), to.into(), *self.bytes.get(23)?))
            }
            0x86dd => {
                let part = |at: usize| -> Option<[u8; 16]> {
                    self.bytes.get(at..at + 16)?.try_into().ok()
                };
                let (from, to) = (Ipv6Addr::from(part(22)?), Ipv6Addr::from(part(38)?));
                Some((from.into(), to.into(), *self.bytes.get(20)?))
            }
            _ => None,
        }
    }

    /// Source and destination port of a TCP, UDP or SCTP packet.
    pub fn ports(&self) -> Option<(u16, u16)> {
        let start = match self.ether_type()? {
            0x0800 => 14 + usize::from(self.bytes.get(14)? & 15) * 4,
            0x86dd => 54,
            _ => return None,
        };
        let port = |at: usize| -> Option<u16> {
            self.bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
        };
        Some((port(start)?, port(start + 2)?))
    }
}

fn collect(socket: &Socket, stop: &UnixStream, shared: &Frames) {
    let mut buffer = vec![0_u8; 65_536];
    while ready(socket, stop) {
        let Ok((length, from)) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) else {
            // A link that goes down reports itself once on the socket.
            continue;
        };
        let frame = Frame {
            link: from.map_or(0, |a| a.ifindex()),
            outgoing: from.is_some_and(|a| a.pkttype() == OUTGOING),
            bytes: buffer[..length].to_vec(),
        };
        shared.0.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
        shared.1.notify_all();
    }
}
