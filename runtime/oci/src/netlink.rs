//! As much of route netlink as moving a device takes (rtnetlink(7)).
//!
//! The kernel works a request off within `send`, so its answer is there and nothing has to be waited
//! for. A socket belongs to the namespace in which it was opened.

use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEWLINK: u16 = 16;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
/// A dump during which the list has changed.
const INTERRUPTED: u16 = 0x10;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
/// Since Linux 5.13; older ones choose a number themselves.
const IFLA_NEW_IFINDEX: u16 = 49;
const IFF_UP: u32 = 1;

const IFA_FLAGS: u16 = 8;
/// Attributes of an address that go with it: address, local address, broadcast, priority of its route,
/// origin. A label has the name of the device, which may become another.
const IFA_KEPT: [u16; 5] = [1, 2, 4, 9, 11];
const PERMANENT: u32 = 0x80;
/// Flags that are the operator's: no duplicate detection, home address, temporary addresses managed,
/// no route, multicast joined.
const FLAGS_KEPT: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;

/// Lengths of `nlmsghdr` and `ifaddrmsg`.
const HEADER: usize = 16;
const ADDRESS: usize = 8;

/// A socket of one network namespace.
#[derive(Debug)]
pub(crate) struct Route(OwnedFd);

/// A device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) index: i32,
    pub(crate) up: bool,
}

impl Route {
    /// A socket of the calling thread's namespace. Allocates nothing.
    pub(crate) fn open() -> Result<Route> {
        // The protocol of routes is the first of the family.
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).map(Route)
    }

    /// The device of a name, or where that is absent, of a number.
    pub(crate) fn find(&self, index: i32, name: Option<&str>) -> Result<Option<Link>> {
        let mut body = link(index, 0);
        if let Some(name) = name {
            attribute(&mut body, IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
        }
        let mut found = None;
        let asked = self.ask(GETLINK, ACK, &body, &mut |answer| {
            if let (Some(index), Some(flags)) = (word(answer, 4), word(answer, 8)) {
                found = Some(Link { index: index.cast_signed(), up: flags & IFF_UP != 0 });
            }
        });
        match asked {
            Err(Errno::NODEV) => Ok(None),
            other => other.map(|()| found),
        }
    }

    /// Moves a device to another namespace, where it has the name and, if the kernel can, the number.
    pub(crate) fn carry(
        &self,
        index: i32,
        to: BorrowedFd<'_>,
        (name, number): (&str, i32),
    ) -> Result<()> {
        let mut body = link(index, 0);
        attribute(&mut body, IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
        attribute(&mut body, IFLA_NET_NS_FD, &to.as_raw_fd().to_ne_bytes());
        if number != index {
            attribute(&mut body, IFLA_NEW_IFINDEX, &number.to_ne_bytes());
        }
        self.ask(NEWLINK, ACK, &body, &mut |_| ())
    }

    /// Sets a device up.
    pub(crate) fn set_up(&self, index: i32) -> Result<()> {
        self.ask(NEWLINK, ACK, &link(index, IFF_UP), &mut |_| ())
    }

    /// The permanent addresses of global scope that a device has, to be given to [`Route::give`].
    pub(crate) fn addresses(&self, index: i32) -> Result<Vec<Vec<u8>>> {
        const TRIES: usize = 8;
        for _ in 0..TRIES {
            let mut found = Vec::new();
            let asked = self.ask(GETADDR, DUMP, &[0; ADDRESS], &mut |answer| {
                found.extend(kept(answer, index));
            });
            match asked {
                Err(Errno::AGAIN) => {}
                other => return other.map(|()| found),
            }
        }
        Err(Errno::AGAIN)
    }

    /// Gives a device an address.
    pub(crate) fn give(&self, index: i32, address: &[u8]) -> Result<()> {
        let mut body = address.to_vec();
        if let Some(place) = body.get_mut(4..ADDRESS) {
            place.copy_from_slice(&index.to_ne_bytes());
        }
        self.ask(NEWADDR, ACK | CREATE, &body, &mut |_| ())
    }

    /// Asks, and reads what is answered up to its end. `AGAIN` when a list changed meanwhile.
    fn ask(&self, kind: u16, flags: u16, body: &[u8], answer: &mut dyn FnMut(&[u8])) -> Result<()> {
        let length = (HEADER + body.len()) as u32;
        let mut text = length.to_ne_bytes().to_vec();
        for half in [kind, REQUEST | flags] {
            text.extend(half.to_ne_bytes());
        }
        text.resize(HEADER, 0);
        text.extend(body);
        rustix::net::send(&self.0, &text, SendFlags::empty())?;
        let mut buffer = vec![0; 64 << 10];
        let mut torn = false;
        loop {
            let (_, length) = rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::TRUNC)?;
            let mut rest = buffer.get(..length).ok_or(Errno::NOBUFS)?;
            while let Some(length) = word(rest, 0).map(|length| length as usize) {
                let one = rest.get(..length).filter(|one| one.len() >= HEADER);
                let one = one.ok_or(Errno::BADMSG)?;
                torn |= half(one, 6) & INTERRUPTED != 0;
                match half(one, 4) {
                    ERROR | DONE => return if torn { Err(Errno::AGAIN) } else { end(one) },
                    _ => answer(one.get(HEADER..).unwrap_or_default()),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// What the last message of an answer says.
fn end(message: &[u8]) -> Result<()> {
    match word(message, HEADER).unwrap_or_default().cast_signed() {
        0 => Ok(()),
        code => Err(crate::sys::errno(code.wrapping_neg())),
    }
}

fn half(bytes: &[u8], at: usize) -> u16 {
    let two = bytes.get(at..).and_then(<[u8]>::first_chunk);
    two.map_or(0, |two| u16::from_ne_bytes(*two))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk);
    four.map(|four| u32::from_ne_bytes(*four))
}

/// A message about a device; with the flags that are to be set.
fn link(index: i32, set: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(set.to_ne_bytes());
    body.extend(set.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((value.len() as u16 + 4).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// An address as it is to be given to the device elsewhere; `None` for one that stays behind.
fn kept(message: &[u8], index: i32) -> Option<Vec<u8>> {
    let [family, prefix, low, scope, ..] = *message.first_chunk::<ADDRESS>()?;
    let mut flags = u32::from(low);
    let mut body = vec![family, prefix, 0, scope, 0, 0, 0, 0];
    let mut rest = message.get(ADDRESS..)?;
    while rest.len() >= 4 {
        let (length, kind) = (usize::from(half(rest, 0)), half(rest, 2));
        let value = rest.get(4..length)?;
        if kind == IFA_FLAGS {
            flags = word(value, 0)?;
        } else if IFA_KEPT.contains(&kind) {
            attribute(&mut body, kind, value);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    attribute(&mut body, IFA_FLAGS, &(flags & FLAGS_KEPT).to_ne_bytes());
    let mine = word(message, 4)?.cast_signed() == index;
    (mine && scope == 0 && flags & PERMANENT != 0).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_addresses_of_this_device_and_all_scopes_are_kept() {
        let told = |index: u8, scope: u8, flags: u8| {
            let mut message = vec![2, 24, flags, scope, index, 0, 0, 0];
            attribute(&mut message, 2, &[10, 0, 0, 1]);
            // A label, and an odd length.
            attribute(&mut message, 3, b"eth0\0");
            attribute(&mut message, IFA_FLAGS, &(u32::from(flags) | 0x200).to_ne_bytes());
            message
        };
        let mut wanted = vec![2, 24, 0, 0, 0, 0, 0, 0];
        attribute(&mut wanted, 2, &[10, 0, 0, 1]);
        attribute(&mut wanted, IFA_FLAGS, &0x200_u32.to_ne_bytes());
        assert_eq!(kept(&told(7, 0, 0x80), 7), Some(wanted));
        assert_eq!(kept(&told(8, 0, 0x80), 7), None, "another device");
        assert_eq!(kept(&told(7, 253, 0x80), 7), None, "of a link");
        assert_eq!(kept(&told(7, 0, 0x01), 7), None, "temporary");
        assert_eq!(kept(&told(7, 0, 0x80)[..15], 7), None, "cut short");
    }
}
