//! Closing a netfilter socket without waiting for the kernel.
//!
//! The last close of such a socket waits, where rules were deleted just before, until the kernel
//! has freed them (an RCU grace period, 10 to 20 ms): most of the time that removing a pod's rules
//! takes, and nobody needs the answer, as the deletion is committed. A socket that is on its way
//! through a Unix socket which only holds itself is closed by the kernel's collector of such
//! cycles instead (unix(7), SCM_RIGHTS), on a worker of the kernel. A kernel that collects in the
//! closing process (before 6.8) waits as it always did.

use super::socket::Nft;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use std::io::IoSlice;
use std::os::fd::{AsRawFd, RawFd};

impl Nft {
    /// Has the kernel close the socket in the background once this value is dropped; for the end
    /// of a DEL with nothing slow after it.
    ///
    /// Where the hand-over fails, it is closed as usual, only slower.
    pub fn leave_to_collector(&self) {
        leave_to_collector(self.raw_fd());
    }
}

/// Gives the kernel's collector a reference to the socket `fd`, so that the caller's close is not
/// the last. Where that fails, the caller's is, only slower.
pub(crate) fn leave_to_collector(fd: RawFd) {
    let pair = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC);
    let Ok((here, there)) = pair else { return };
    let hand_over = |fd: RawFd| {
        let rights = [fd];
        let rights = [ControlMessage::ScmRights(&rights)];
        sendmsg::<()>(here.as_raw_fd(), &[IoSlice::new(&[0])], &rights, MsgFlags::empty(), None)
    };
    // Each end of the pair waits in its own queue, so nothing but the collector reaches them.
    let _closed_slower_on_failure = [fd, here.as_raw_fd(), there.as_raw_fd()]
        .into_iter()
        .try_for_each(|fd| hand_over(fd).map(drop));
}
