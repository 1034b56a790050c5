//! Frames and descriptors on a socket that does not block.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use shim_protocol::{DESCRIPTORS_MAX, Error, Kind, Message, frame};
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// A frame on its way out.
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

impl Outgoing {
    pub(crate) fn new(bytes: Vec<u8>, fds: Vec<OwnedFd>) -> Outgoing {
        Outgoing { bytes, sent: 0, fds }
    }

    /// Sends all that is left of it, or fails when the socket takes no more.
    pub(crate) fn send(&mut self, socket: impl AsFd) -> std::io::Result<()> {
        while self.sent < self.bytes.len() {
            let fds: Vec<BorrowedFd<'_>> = self.fds.iter().map(AsFd::as_fd).collect();
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(Errno::MSGSIZE.into());
            }
            let parts = [IoSlice::new(&self.bytes[self.sent..])];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::sendmsg(&socket, &parts, &mut control, flags) {
                Err(Errno::INTR) => {}
                other => {
                    self.sent += other?;
                    // They went with the first bytes.
                    self.fds.clear();
                }
            }
        }
        Ok(())
    }
}

/// What has come in and was not taken yet.
#[derive(Default)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Incoming {
    /// Receives what is there; false when the other side is gone.
    pub(crate) fn receive(&mut self, socket: impl AsFd) -> std::io::Result<bool> {
        let mut room = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut room)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let heard = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&socket, &mut parts, &mut control, flags)
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        self.bytes.extend_from_slice(&room[..heard.bytes]);
        Ok(heard.bytes > 0)
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// It is too long, or no message.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, Error> {
        let Some((json, end)) = frame::split(&self.bytes)? else { return Ok(None) };
        let message = serde_json::from_slice(json)
            .map_err(|error| Error::new(Kind::Internal, "frame", error.to_string()))?;
        self.bytes.drain(..end);
        Ok(Some(message))
    }

    /// The descriptors of the frame that was taken last.
    pub(crate) fn take_fds(&mut self, count: usize) -> Vec<OwnedFd> {
        self.fds.drain(..count.min(self.fds.len())).collect()
    }
}
