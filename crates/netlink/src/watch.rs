//! Waiting for the kernel to finish something, by its own notice of it.

use crate::{Address, Error, Netlink, Result};
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Notices about links and IPv6 addresses of one namespace.
///
/// Open it before the change that is waited for, so that no notice is missed.
#[derive(Debug)]
pub struct Watch {
    socket: netlink_sys::Socket,
}

impl Watch {
    /// Listens in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no socket to give.
    pub fn open() -> Result<Watch> {
        let open = || -> io::Result<Watch> {
            let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.add_membership(libc::RTNLGRP_LINK)?;
            socket.add_membership(libc::RTNLGRP_IPV6_IFADDR)?;
            Ok(Watch { socket })
        };
        open().map_err(|e| Error::io("open a netlink socket", &e))
    }

    /// Waits until the link with this index passes traffic; says whether it did within `limit`.
    ///
    /// # Errors
    /// When the kernel refuses to tell, or the link is gone.
    pub fn running(&self, netlink: &Netlink, link: u32, limit: Duration) -> Result<bool> {
        self.until(limit, || match netlink.link_by_index(link)? {
            Some(link) => Ok(link.running),
            None => Err(Error {
                op: format!("wait for link {link}"),
                errno: libc::ENODEV,
                text: String::new(),
            }),
        })
    }

    /// Waits until no address of the link with this index is tentative, or `limit` is over.
    /// The addresses as they are then.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn settled(&self, netlink: &Netlink, link: u32, limit: Duration) -> Result<Vec<Address>> {
        let pending = |list: &[Address]| list.iter().any(|a| a.tentative && !a.duplicate);
        let mut last = Vec::new();
        self.until(limit, || {
            last = netlink.addresses(link)?;
            Ok(!pending(&last))
        })?;
        Ok(last)
    }

    fn until(&self, limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<bool> {
        let start = Instant::now();
        loop {
            if ready()? {
                return Ok(true);
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            self.next(left)?;
        }
    }

    /// Waits for a notice and takes all there are.
    fn next(&self, limit: Duration) -> Result<()> {
        let fault = |e: &io::Error| Error::io("wait for a notice", e);
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut one = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut one, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(fault(&errno.into())),
        }
        let mut buffer = Vec::with_capacity(8192);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                // ENOBUFS: more came than fitted; the state itself is asked for anyway.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(fault(&e)),
            }
        }
    }
}
