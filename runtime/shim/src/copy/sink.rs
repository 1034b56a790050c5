//! What a client that is attached has yet to read.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// Bytes that are kept for a client; a container is held back while it has as much.
const KEPT: usize = 256 << 10;
/// How long a client may take to read half of that before it is cut off.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client's end of one stream.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) fd: OwnedFd,
    left: Vec<u8>,
    sent: usize,
    /// Since when the container is held back for it.
    full: Option<Instant>,
}

impl Sink {
    pub(crate) fn new(fd: OwnedFd) -> Sink {
        Sink { fd, left: Vec::new(), sent: 0, full: None }
    }

    pub(crate) fn has_left(&self) -> bool {
        self.sent < self.left.len()
    }

    /// Adds to what is to be read; false when the client is gone.
    pub(crate) fn add(&mut self, text: &[u8]) -> bool {
        let mut text = text;
        if !self.has_left() {
            match send(&self.fd, text) {
                Ok(sent) => text = &text[sent..],
                Err(_) => return false,
            }
        }
        self.left.extend_from_slice(text);
        if self.left.len() - self.sent >= KEPT && self.full.is_none() {
            self.full = Some(Instant::now());
        }
        true
    }

    /// Sends what the client takes; false when it is gone.
    pub(crate) fn push(&mut self) -> bool {
        match send(&self.fd, &self.left[self.sent..]) {
            Ok(sent) => self.sent += sent,
            Err(_) => return false,
        }
        let left = self.left.len() - self.sent;
        if left == 0 {
            (self.left, self.sent) = (Vec::new(), 0);
        } else if self.sent >= KEPT {
            self.left.drain(..self.sent);
            self.sent = 0;
        }
        if left <= KEPT / 2 {
            self.full = None;
        }
        true
    }

    /// When it will be cut off, while the container is held back for it.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.full.map(|since| since + PATIENCE)
    }
}

/// Writes what is taken without waiting.
pub(crate) fn send(fd: &OwnedFd, text: &[u8]) -> rustix::io::Result<usize> {
    let mut sent = 0;
    while sent < text.len() {
        match rustix::io::write(fd, &text[sent..]) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            other => sent += other?,
        }
    }
    Ok(sent)
}
