//! System calls that the crates in use do not wrap.

#![allow(unsafe_code, reason = "three system calls that the nix crate has no safe form of")]

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// IPv4 frames.
const ETH_P_IP: u16 = 0x0800;

/// Lets UDP datagrams to the port of DHCP clients pass, and nothing else: the pod's own traffic
/// does not wake the daemon. Words of struct sock_filter, for a frame that begins with its Ethernet
/// header.
const FILTER: [(u16, u8, u8, u32); 9] = [
    (0x28, 0, 0, 12),       // the kind of frame
    (0x15, 0, 6, 0x0800),   // IPv4
    (0x30, 0, 0, 23),       // the protocol
    (0x15, 0, 4, 17),       // UDP
    (0xb1, 0, 0, 14),       // the length of the IP header
    (0x48, 0, 0, 16),       // the port it goes to
    (0x15, 0, 1, 68),       // of clients
    (0x06, 0, 0, u32::MAX), // all of it
    (0x06, 0, 0, 0),        // nothing
];

/// A socket for whole frames of one link in the calling thread's namespace. It receives only what
/// [`FILTER`] lets pass, from the beginning.
///
/// # Errors
/// Those of the kernel.
pub(crate) fn link_socket(index: u32) -> io::Result<OwnedFd> {
    // Without a protocol it receives nothing until it is bound.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    let mut words = FILTER.map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k });
    let program = libc::sock_fprog { len: words.len() as u16, filter: words.as_mut_ptr() };
    // SAFETY: the option's value is a sock_fprog of the size that is given; the words that it
    // points to live until the call returns, which copies them.
    let set = unsafe {
        libc::setsockopt(
            made.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ETH_P_IP.to_be(),
        sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address is a whole sockaddr_ll of the size that is given, and is only read.
    let bound = unsafe {
        libc::bind(
            made.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(made)
}

/// The first of the sockets that a service manager passes on (sd_listen_fds(3)).
const FIRST_PASSED: i32 = 3;

/// The only socket that a service manager passed on to this process; called once, before anything
/// else is opened.
///
/// # Errors
/// With their number where there are several.
pub(crate) fn passed_socket() -> Result<Option<OwnedFd>, usize> {
    let variable = |name| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    if variable("LISTEN_PID") != usize::try_from(std::process::id()).ok() {
        return Ok(None);
    }
    match variable("LISTEN_FDS") {
        None | Some(0) => Ok(None),
        // SAFETY: the service manager opened this descriptor for this process, which the variables
        // name, and nothing else here takes it.
        Some(1) => Ok(Some(unsafe { OwnedFd::from_raw_fd(FIRST_PASSED) })),
        Some(several) => Err(several),
    }
}
