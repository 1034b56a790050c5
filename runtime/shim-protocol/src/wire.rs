//! Frames and their descriptors on a socket, without waiting.

use crate::{DESCRIPTORS_MAX, Error, Kind, frame};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// A frame on its way out, with the descriptors that go with it.
#[derive(Debug)]
pub struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

impl Outgoing {
    /// A frame as [`frame::encode`] makes it, and its descriptors.
    pub fn new(bytes: Vec<u8>, fds: Vec<OwnedFd>) -> Outgoing {
        Outgoing { bytes, sent: 0, fds }
    }

    /// Bytes that were not sent yet.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Sends all that is left of it.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes no more now, to be called again; or the connection is over.
    pub fn send(&mut self, socket: impl AsFd) -> std::io::Result<()> {
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
#[derive(Debug, Default)]
pub struct Incoming {
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Incoming {
    /// Receives what is there; false when the other side is gone.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there, or the connection is over.
    pub fn receive(&mut self, socket: impl AsFd) -> std::io::Result<bool> {
        let mut room = [0; 8 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let heard = rustix::io::retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut room)];
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

    /// The next whole frame; `None` while there is none.
    ///
    /// # Errors
    /// It is too long, or no message of this kind.
    pub fn take<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let Some((json, end)) = frame::split(&self.bytes)? else { return Ok(None) };
        let message = serde_json::from_slice(json)
            .map_err(|error| Error::new(Kind::Internal, "frame", error.to_string()))?;
        if end == self.bytes.len() {
            // The memory too: the next frame may be long in coming.
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..end);
        }
        Ok(Some(message))
    }

    /// Descriptors of the frame that was taken last, as many as it says.
    ///
    /// # Errors
    /// Fewer came.
    pub fn take_fds(&mut self, count: usize) -> Result<Vec<OwnedFd>, Error> {
        if count > self.fds.len() {
            let cause = format!("says {count} descriptors, and {} came", self.fds.len());
            return Err(Error::new(Kind::Internal, "frame", cause));
        }
        Ok(self.fds.drain(..count).collect())
    }
}
