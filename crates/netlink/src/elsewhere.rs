//! The namespace that the other end of a link is in.

use crate::wire::{Attributes, Request, put, u32_of};
use crate::{Netlink, Result};

/// Length of `struct ifinfomsg`.
const HEADER: usize = 16;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_TARGET_NETNSID: u16 = 46;
/// The loopback interface, which every namespace has.
const LOOPBACK: u32 = 1;

fn question(index: u32) -> Vec<u8> {
    let mut body = vec![0; HEADER];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body
}

impl Netlink {
    /// Whether the namespace still lives that the other end of the link with this index is in. The
    /// kernel takes the links of a dead one in its own time.
    ///
    /// # Errors
    /// With ENODEV when there is no such link, and when the kernel refuses to tell.
    pub fn other_end_lives(&self, index: u32) -> Result<bool> {
        let request = Request::raw(libc::RTM_GETLINK, question(index));
        let read = |body: &[u8]| {
            let mut all = Attributes::after(body, HEADER);
            Some(all.find(|(kind, _)| *kind == IFLA_LINK_NETNSID).map(|(_, value)| u32_of(value)))
        };
        let op = || format!("get link {index}");
        let Some(space) = self.socket.borrow_mut().get(&request, op, read)? else {
            return Ok(true);
        };
        if space.cast_signed() < 0 {
            return Ok(false);
        }
        let mut body = question(LOOPBACK);
        put(&mut body, IFLA_TARGET_NETNSID, &space.to_ne_bytes());
        let request = Request::raw(libc::RTM_GETLINK, body);
        let op = || format!("look into namespace {space}");
        match self.socket.borrow_mut().get(&request, op, |_| Some(())) {
            Ok(()) => Ok(true),
            // The number stands for nothing that could be entered any more.
            Err(e) if e.errno == libc::EINVAL => Ok(false),
            Err(e) => Err(e),
        }
    }
}
