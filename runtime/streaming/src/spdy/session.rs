//! The frames of a connection, brought to their streams.

use super::frame::{self, Control, FLAG_FIN, Goodbye, HEAD, Head, Reset};
use super::headers::{Packer, Unpacker};
use super::stream::{State, Stream, Writer};
use crate::link::{Activity, Inlet, Outlet};
use crate::websocket;
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// Streams that a client may have open at one time: 512 forwarded connections.
const MAX_STREAMS: usize = 1024;

/// Pieces that may wait for the reader of a stream, of at most 64 KiB each.
const WAITING: usize = 8;

/// Pieces below this are copied out of the buffer they came in, which they would keep in memory.
const SMALL: usize = 4 << 10;

/// What carries frames to the client.
pub(crate) enum Carrier {
    /// The connection itself.
    Plain(Arc<Outlet>),
    /// WebSocket messages.
    Tunnel(websocket::Sender),
}

impl Carrier {
    /// Sends a frame, or several.
    pub(super) async fn send(&self, head: &[u8], body: &[u8]) -> io::Result<()> {
        match self {
            Carrier::Plain(outlet) => {
                outlet.send(&mut [IoSlice::new(head), IoSlice::new(body)]).await
            }
            Carrier::Tunnel(sender) => sender.bytes(head, body).await,
        }
    }

    /// Says that the session is over.
    pub(crate) async fn goodbye(&self) -> io::Result<()> {
        self.send(&frame::go_away(0, Goodbye::Ok), &[]).await
    }
}

/// Where frames come from.
pub(crate) enum Source {
    Plain(Inlet),
    Tunnel(websocket::Reader, BytesMut),
}

impl Source {
    fn buffer(&mut self) -> &mut BytesMut {
        match self {
            Source::Plain(inlet) => &mut inlet.buffer,
            Source::Tunnel(_, buffer) => buffer,
        }
    }

    /// Reads until there are `count` bytes; false if the end comes first.
    async fn fill(&mut self, count: usize) -> io::Result<bool> {
        match self {
            Source::Plain(inlet) => inlet.fill(count).await,
            Source::Tunnel(reader, buffer) => {
                while buffer.len() < count {
                    let Some(piece) = reader.next().await? else { return Ok(false) };
                    // What is left is less than a head or a control frame: the copy is short, and
                    // pieces of data are passed on as they are.
                    if buffer.is_empty() {
                        *buffer = piece.bytes;
                    } else {
                        buffer.extend_from_slice(&piece.bytes);
                    }
                }
                Ok(true)
            }
        }
    }
}

/// Reads a client's frames.
pub(crate) struct Session {
    source: Source,
    carrier: Arc<Carrier>,
    activity: Arc<Activity>,
    opened: mpsc::Sender<Stream>,
    unpacker: Unpacker,
    packer: Packer,
    streams: HashMap<u32, Inbound>,
    last: u32,
}

/// A stream as the session sees it.
struct Inbound {
    /// Where its data go; nothing after its end.
    data: Option<mpsc::Sender<Bytes>>,
    state: Arc<State>,
}

impl Session {
    /// A session over `source` and `carrier`, and the streams that its client will open.
    pub(crate) fn new(
        source: Source,
        carrier: Arc<Carrier>,
        activity: Arc<Activity>,
    ) -> (Session, mpsc::Receiver<Stream>) {
        let (opened, streams) = mpsc::channel(WAITING);
        let session = Session {
            source,
            carrier,
            activity,
            opened,
            unpacker: Unpacker::default(),
            packer: Packer::default(),
            streams: HashMap::new(),
            last: 0,
        };
        (session, streams)
    }

    /// Reads until the client is gone; a client that breaks the protocol is told so.
    pub(crate) async fn serve(mut self) -> io::Result<()> {
        let served = self.frames().await;
        if let Err(cause) = &served
            && cause.kind() == io::ErrorKind::InvalidData
        {
            // The client hears of it if it still listens; it is the error that counts.
            let _ = self.carrier.send(&frame::go_away(self.last, Goodbye::Protocol), &[]).await;
        }
        served
    }

    async fn frames(&mut self) -> io::Result<()> {
        while self.source.fill(HEAD).await? {
            let bytes = self.source.buffer().split_to(HEAD);
            let head = <[u8; HEAD]>::try_from(&bytes[..]).unwrap_or_default();
            let going_on = match frame::head(head).map_err(broken)? {
                Head::Data { stream, flags, length } => self.data(stream, flags, length).await?,
                Head::Control { kind, flags, length } => self.control(kind, flags, length).await?,
            };
            if !going_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Passes data on, in the pieces they come in; false if the client is gone.
    async fn data(&mut self, id: u32, flags: u8, length: usize) -> io::Result<bool> {
        self.activity.touch();
        let mut left = length;
        while left > 0 {
            if !self.source.fill(1).await? {
                return Ok(false);
            }
            let buffer = self.source.buffer();
            let piece = buffer.split_to(left.min(buffer.len()));
            left -= piece.len();
            self.pass(id, piece).await;
        }
        if flags & FLAG_FIN != 0
            && let Some(stream) = self.streams.get_mut(&id)
        {
            stream.data = None;
        }
        Ok(true)
    }

    async fn pass(&mut self, id: u32, piece: BytesMut) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let Some(data) = &stream.data else { return };
        let piece =
            if piece.len() < SMALL { Bytes::copy_from_slice(&piece) } else { piece.freeze() };
        if data.send(piece).await.is_err() {
            // Nobody reads: what else comes is dropped.
            stream.data = None;
        }
    }

    /// Acts on a control frame; false if the client is gone.
    async fn control(&mut self, kind: u16, flags: u8, length: usize) -> io::Result<bool> {
        if !self.source.fill(length).await? {
            return Ok(false);
        }
        let body = self.source.buffer().split_to(length);
        match frame::control(kind, flags, &body).map_err(broken)? {
            Control::SynStream { stream, finished, headers } => {
                self.open(stream, finished, headers).await?;
            }
            Control::Reset { stream } => {
                if let Some(stream) = self.streams.remove(&stream) {
                    stream.state.reset.store(true, Ordering::Release);
                    stream.state.finished.store(true, Ordering::Release);
                }
            }
            Control::Ping { id } => self.carrier.send(&frame::ping(id), &[]).await?,
            Control::Headers { headers } => {
                self.unpacker.read(headers).map_err(broken)?;
            }
            Control::GoAway | Control::Ignored => {}
        }
        Ok(true)
    }

    async fn open(&mut self, id: u32, finished: bool, headers: &[u8]) -> io::Result<()> {
        // The headers are read in any case: later ones build on them.
        let headers = self.unpacker.read(headers).map_err(broken)?;
        self.activity.touch();
        if id.is_multiple_of(2) || id <= self.last {
            return Err(broken("a stream has a number that is not a client's next one"));
        }
        self.last = id;
        self.streams
            .retain(|_, one| one.data.is_some() || !one.state.finished.load(Ordering::Acquire));
        if self.streams.len() >= MAX_STREAMS {
            return self.carrier.send(&frame::reset(id, Reset::Refused), &[]).await;
        }
        let (data, inbound) = mpsc::channel(WAITING);
        let state = Arc::new(State::default());
        let data = (!finished).then_some(data);
        self.streams.insert(id, Inbound { data, state: Arc::clone(&state) });
        self.reply(id).await?;
        let writer = Writer { id, carrier: Arc::clone(&self.carrier), state };
        // An owner who takes no more streams is at its end, and ends the session.
        let _ = self.opened.send(Stream { headers, inbound, writer }).await;
        Ok(())
    }

    async fn reply(&mut self, id: u32) -> io::Result<()> {
        let headers = self.packer.write(&[]).map_err(io::Error::other)?;
        self.carrier.send(&frame::syn_reply(id, &headers), &[]).await
    }
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
