//! One stream of a session.

use super::frame::{FLAG_FIN, Reset, data, reset};
use super::headers::Headers;
use super::session::Carrier;
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// A stream that a client has opened.
pub(crate) struct Stream {
    pub(crate) headers: Headers,
    /// What the client sends; ends when it has finished the stream, or reset it.
    pub(crate) inbound: mpsc::Receiver<Bytes>,
    pub(crate) writer: Writer,
}

impl Stream {
    /// The value of a header; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map_or("", |(_, value)| value.as_str())
    }
}

/// The server's direction of a stream.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) id: u32,
    pub(super) carrier: Arc<Carrier>,
    pub(super) state: Arc<State>,
}

/// What both the session and the owner of a stream must know.
#[derive(Default)]
pub(super) struct State {
    /// The server's direction has ended, by either side.
    pub(super) finished: AtomicBool,
    /// The client has reset the stream.
    pub(super) reset: AtomicBool,
}

impl Writer {
    /// Whether the client has reset the stream, so that the end of its data is no end of the input.
    pub(crate) fn is_reset(&self) -> bool {
        self.state.reset.load(Ordering::Acquire)
    }

    /// Sends `bytes`, at most 2^24 - 1 of them; into the void when the stream has ended.
    pub(crate) async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        if self.state.finished.load(Ordering::Acquire) || bytes.is_empty() {
            return Ok(());
        }
        self.carrier.send(&data(self.id, 0, bytes.len()), bytes).await
    }

    /// Says that nothing more will come on this stream.
    pub(crate) async fn finish(&self) -> io::Result<()> {
        if self.state.finished.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.carrier.send(&data(self.id, FLAG_FIN, 0), &[]).await
    }

    /// Ends the stream in both directions.
    pub(crate) async fn reset(&self, why: Reset) -> io::Result<()> {
        if self.state.finished.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.carrier.send(&reset(self.id, why), &[]).await
    }
}
