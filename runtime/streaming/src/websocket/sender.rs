//! Messages to a client.

use super::frame::{MAX_ANSWER_HEAD, Opcode, write};
use crate::link::Outlet;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// How messages carry bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As they are.
    Binary,
    /// In base64, in messages of text; a channel is then a digit.
    Base64,
}

/// Sends messages.
#[derive(Clone)]
pub(crate) struct Sender {
    outlet: Arc<Outlet>,
    kind: Kind,
}

impl Sender {
    pub(crate) fn new(outlet: Arc<Outlet>, kind: Kind) -> Sender {
        Sender { outlet, kind }
    }

    /// Sends `bytes` on a channel, as one message.
    pub(crate) async fn channel(&self, channel: u8, bytes: &[u8]) -> io::Result<()> {
        match self.kind {
            Kind::Binary => self.message(Opcode::Binary, &[channel], bytes).await,
            Kind::Base64 => {
                let text = STANDARD.encode(bytes);
                let digit = channel.wrapping_add(b'0');
                self.message(Opcode::Text, &[digit], text.as_bytes()).await
            }
        }
    }

    /// Sends a message of bytes that has no channels.
    pub(crate) async fn bytes(&self, head: &[u8], body: &[u8]) -> io::Result<()> {
        self.message(Opcode::Binary, head, body).await
    }

    /// Answers a ping.
    pub(crate) async fn pong(&self, body: &[u8]) -> io::Result<()> {
        self.message(Opcode::Pong, &[], body).await
    }

    /// Says that the connection ends, and why (section 7.4.1).
    pub(crate) async fn close(&self, code: u16, why: &str) -> io::Result<()> {
        self.message(Opcode::Close, &code.to_be_bytes(), why.as_bytes()).await
    }

    async fn message(&self, opcode: Opcode, first: &[u8], second: &[u8]) -> io::Result<()> {
        let mut head = [0; MAX_ANSWER_HEAD];
        let length = write(opcode, first.len() + second.len(), &mut head);
        let mut parts = [IoSlice::new(&head[..length]), IoSlice::new(first), IoSlice::new(second)];
        self.outlet.send(&mut parts).await
    }
}
