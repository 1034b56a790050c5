//! Where bytes for a client go: a channel or a stream.

use crate::spdy::frame::Reset;
use crate::{spdy, websocket};
use std::io;

#[derive(Clone)]
pub(crate) enum Sink {
    /// The client did not ask for it.
    Nowhere,
    /// A channel of a WebSocket connection.
    Channel(websocket::Sender, u8),
    /// A stream of a SPDY session.
    Stream(spdy::Writer),
}

impl Sink {
    /// Sends `bytes`. An error means that the whole connection is of no use any more. A future of this
    /// that is dropped half way breaks the connection.
    pub(crate) async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Sink::Nowhere => Ok(()),
            Sink::Channel(sender, channel) => sender.channel(*channel, bytes).await,
            Sink::Stream(stream) => stream.send(bytes).await,
        }
    }

    /// Shows that it is there. Of streams that is known without.
    pub(crate) async fn greet(&self) -> io::Result<()> {
        match self {
            Sink::Channel(sender, channel) => sender.channel(*channel, &[]).await,
            Sink::Nowhere | Sink::Stream(_) => Ok(()),
        }
    }

    /// Says that nothing more will come; channels have no word for that.
    pub(crate) async fn finish(&self) -> io::Result<()> {
        match self {
            Sink::Nowhere | Sink::Channel(..) => Ok(()),
            Sink::Stream(stream) => stream.finish().await,
        }
    }

    /// Says that what was behind it broke.
    pub(crate) async fn reset(&self) -> io::Result<()> {
        match self {
            Sink::Nowhere | Sink::Channel(..) => Ok(()),
            Sink::Stream(stream) => stream.reset(Reset::Internal).await,
        }
    }

    /// Whether the client has given it up.
    pub(crate) fn is_reset(&self) -> bool {
        matches!(self, Sink::Stream(stream) if stream.is_reset())
    }
}
