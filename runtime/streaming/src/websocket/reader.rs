//! Messages from a client, in the pieces they come in.

use super::frame::{Head, Opcode, parse, unmask};
use super::sender::Sender;
use crate::link::Inlet;
use bytes::BytesMut;
use std::io;

/// Codes of section 7.4.1.
pub(crate) const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;

/// A piece of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whether a message begins with it.
    pub first: bool,
    /// Whether the message ends with it.
    pub last: bool,
    /// Its bytes; may be none.
    pub bytes: BytesMut,
}

/// Reads messages, answers pings and the client's goodbye.
pub(crate) struct Reader {
    inlet: Inlet,
    sender: Sender,
    frame: Option<Frame>,
    /// Whether a message has begun and not ended.
    within: bool,
}

/// A frame whose body is being read.
struct Frame {
    head: Head,
    done: u64,
    /// Whether it begins a message and nothing of it was told yet.
    first: bool,
}

impl Reader {
    pub(crate) fn new(inlet: Inlet, sender: Sender) -> Reader {
        Reader { inlet, sender, frame: None, within: false }
    }

    /// The next piece; nothing when the client has said goodbye or is gone.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if self.frame.is_some() {
                return self.piece().await;
            }
            let Some(head) = self.head().await? else { return Ok(None) };
            if head.opcode.is_control() {
                if !self.control(head).await? {
                    return Ok(None);
                }
                continue;
            }
            let first = head.opcode != Opcode::Continuation;
            if first == self.within {
                return Err(self
                    .broken("messages are mixed, or one goes on that did not begin")
                    .await);
            }
            self.within = !head.last;
            self.frame = Some(Frame { head, done: 0, first });
        }
    }

    async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            match parse(&self.inlet.buffer) {
                Ok(Some((head, used))) => {
                    let _ = self.inlet.buffer.split_to(used);
                    return Ok(Some(head));
                }
                Ok(None) if self.inlet.read().await? == 0 => return Ok(None),
                Ok(None) => {}
                Err(why) => return Err(self.broken(why).await),
            }
        }
    }

    /// What is here of the frame's body.
    async fn piece(&mut self) -> io::Result<Option<Piece>> {
        let Some(mut frame) = self.frame.take() else { return Ok(None) };
        let left = frame.head.length - frame.done;
        if left > 0 && !self.inlet.fill(1).await? {
            return Ok(None);
        }
        let here = self.inlet.buffer.len();
        let count = usize::try_from(left).unwrap_or(here).min(here);
        let mut bytes = self.inlet.buffer.split_to(count);
        unmask(&mut bytes, frame.head.mask, frame.done);
        frame.done += count as u64;
        let ends = frame.done == frame.head.length;
        let piece = Piece { first: frame.first, last: ends && frame.head.last, bytes };
        frame.first = false;
        self.frame = (!ends).then_some(frame);
        Ok(Some(piece))
    }

    /// Acts on a control frame; false after the client's goodbye.
    async fn control(&mut self, head: Head) -> io::Result<bool> {
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        if !self.inlet.fill(length).await? {
            return Ok(false);
        }
        let mut body = self.inlet.buffer.split_to(length);
        unmask(&mut body, head.mask, 0);
        match head.opcode {
            Opcode::Ping => self.sender.pong(&body).await?,
            Opcode::Close => {
                self.sender.close(NORMAL, "").await?;
                return Ok(false);
            }
            _ => {}
        }
        Ok(true)
    }

    async fn broken(&mut self, why: &'static str) -> io::Error {
        // The client hears of it if it still listens; it is the error that counts.
        let _ = self.sender.close(PROTOCOL_ERROR, why).await;
        io::Error::new(io::ErrorKind::InvalidData, why)
    }
}
