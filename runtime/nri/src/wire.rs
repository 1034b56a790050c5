//! What goes over a plugin's socket: messages of ttrpc, in frames of two connections that share it.
//!
//! A frame is the connection's number and the payload's length, both 32 bits, big endian, and the
//! payload. The payloads of a connection are a stream of messages: length and stream number of 32 bits,
//! big endian, a byte each of kind and flags, and so many bytes. No I/O here.

use bytes::{Buf, Bytes, BytesMut};
use std::fmt;

/// Bytes of a message at most, without its header.
pub const MESSAGE_MAX: usize = 4 << 20;

/// Bytes of a message's header.
const HEADER: usize = 10;

/// Bytes of a frame's header.
const FRAME_HEADER: usize = 8;

/// Bytes of a frame's payload at most: a whole message.
const FRAME_MAX: usize = HEADER + MESSAGE_MAX;

/// Bytes of the first frame of a message at most. Others read through a buffer of this size, and
/// take no frame for which it has no room; what follows goes past that buffer.
const FIRST_FRAME: usize = 4096;

/// Connections that share a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The runtime asks, the plugin answers.
    Plugin,
    /// The plugin asks, the runtime answers.
    Runtime,
}

impl Lane {
    fn number(self) -> u32 {
        match self {
            Lane::Plugin => 1,
            Lane::Runtime => 2,
        }
    }
}

/// Kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Begins a stream.
    Request,
    /// Ends it.
    Response,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Kind::Request => 1,
            Kind::Response => 2,
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The stream, which a request begins and its response ends.
    pub stream: u32,
    /// What it is.
    pub kind: Kind,
    /// A [`Request`] or a [`Response`], encoded.
    pub payload: Bytes,
}

/// A request, as the payload of a message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// The service, with its package.
    #[prost(string, tag = "1")]
    pub service: String,
    /// The method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// Its argument, encoded.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
    /// How long the caller waits, in nanoseconds; 0 for ever.
    #[prost(int64, tag = "4")]
    pub timeout_nano: i64,
}

/// A response, as the payload of a message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// How it went; well, where it is absent.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// The result, encoded.
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
}

/// How a call went: a code of gRPC, and a sentence.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    /// 0 for success.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// Codes of gRPC that are told apart here.
pub mod code {
    /// No other fits.
    pub const UNKNOWN: i32 = 2;
    /// The argument is none.
    pub const INVALID_ARGUMENT: i32 = 3;
    /// There is too much of something.
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    /// There is no such method.
    pub const UNIMPLEMENTED: i32 = 12;
}

impl Status {
    /// A failure.
    pub fn new(code: i32, message: impl fmt::Display) -> Status {
        Status { code, message: message.to_string() }
    }
}

/// What the other side sent is not of this protocol: the socket is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A frame of so many bytes.
    Frame(u32),
    /// A message of so many bytes.
    Message(u32),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Frame(length) => write!(f, "sent a frame of {length} bytes, over {FRAME_MAX}"),
            Broken::Message(length) => {
                write!(f, "sent a message of {length} bytes, over {MESSAGE_MAX}")
            }
        }
    }
}

impl std::error::Error for Broken {}

/// A message in its frames.
pub fn encode(lane: Lane, stream: u32, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADER + payload.len());
    message.extend(length.to_be_bytes());
    message.extend(stream.to_be_bytes());
    message.extend([kind.number(), 0]);
    message.extend(payload);
    let (first, rest) = message.split_at(message.len().min(FIRST_FRAME));
    let mut frames = Vec::with_capacity(message.len() + 2 * FRAME_HEADER);
    for part in [first, rest].into_iter().filter(|part| !part.is_empty()) {
        frames.extend(lane.number().to_be_bytes());
        frames.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        frames.extend(part);
    }
    frames
}

/// Finds the messages in what came. It keeps no more than what was sent, and of one message no more
/// than [`MESSAGE_MAX`], whatever lengths are claimed.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Of the next frame, as far as it came.
    header: BytesMut,
    /// Bytes of the present frame that are still to come, and whose they are.
    frame: Option<(Option<Lane>, usize)>,
    plugin: BytesMut,
    runtime: BytesMut,
}

impl Decoder {
    /// Takes what came next.
    ///
    /// # Errors
    /// A frame is too long.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let Some((lane, left)) = self.frame else {
                let wanted = (FRAME_HEADER - self.header.len()).min(bytes.len());
                self.header.extend_from_slice(&bytes[..wanted]);
                bytes = &bytes[wanted..];
                if self.header.len() == FRAME_HEADER {
                    self.begin_frame()?;
                }
                continue;
            };
            let taken = left.min(bytes.len());
            match lane {
                Some(Lane::Plugin) => self.plugin.extend_from_slice(&bytes[..taken]),
                Some(Lane::Runtime) => self.runtime.extend_from_slice(&bytes[..taken]),
                None => {}
            }
            bytes = &bytes[taken..];
            self.frame = Some((lane, left - taken)).filter(|(_, left)| *left > 0);
        }
        Ok(())
    }

    fn begin_frame(&mut self) -> Result<(), Broken> {
        let (number, length) = (self.header.get_u32(), self.header.get_u32());
        let left = usize::try_from(length).unwrap_or(usize::MAX);
        if left > FRAME_MAX {
            return Err(Broken::Frame(length));
        }
        // What goes over connections that are not known yet is of no interest.
        let lane = [Lane::Plugin, Lane::Runtime].into_iter().find(|lane| lane.number() == number);
        self.frame = Some((lane, left)).filter(|(_, left)| *left > 0);
        Ok(())
    }

    /// The next whole message; none until more has come. To be asked until there is none before
    /// more is fed.
    ///
    /// # Errors
    /// A message is too long.
    pub fn message(&mut self) -> Result<Option<(Lane, Message)>, Broken> {
        for (lane, bytes) in [(Lane::Plugin, &mut self.plugin), (Lane::Runtime, &mut self.runtime)]
        {
            while let Some((kind, stream, payload)) = whole(bytes)? {
                // Others are of streams that go on, which this interface does not have.
                let kind = match kind {
                    1 => Kind::Request,
                    2 => Kind::Response,
                    _ => continue,
                };
                return Ok(Some((lane, Message { stream, kind, payload })));
            }
        }
        Ok(None)
    }
}

/// Takes a message off the front, if all of it is there.
fn whole(bytes: &mut BytesMut) -> Result<Option<(u8, u32, Bytes)>, Broken> {
    let Some(mut header) = bytes.get(..HEADER) else { return Ok(None) };
    let (claimed, stream, kind) = (header.get_u32(), header.get_u32(), header.get_u8());
    let length = usize::try_from(claimed).unwrap_or(usize::MAX);
    if length > MESSAGE_MAX {
        return Err(Broken::Message(claimed));
    }
    if bytes.len() < HEADER + length {
        return Ok(None);
    }
    bytes.advance(HEADER);
    Ok(Some((kind, stream, bytes.split_to(length).freeze())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(decoder: &mut Decoder) -> Vec<(Lane, Message)> {
        std::iter::from_fn(|| decoder.message().expect("messages")).collect()
    }

    fn frame(number: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("length");
        [&number.to_be_bytes()[..], &length.to_be_bytes()[..], payload].concat()
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let long = vec![7; 3 * FIRST_FRAME];
        let sent = [
            (Lane::Plugin, 1, Kind::Request, &b"one"[..]),
            (Lane::Runtime, 9, Kind::Response, &[]),
            (Lane::Plugin, 3, Kind::Response, &long),
        ];
        let bytes: Vec<u8> = sent
            .iter()
            .flat_map(|(lane, stream, kind, of)| encode(*lane, *stream, *kind, of))
            .collect();
        for step in [1, 7, 4096, bytes.len()] {
            let (mut decoder, mut got) = (Decoder::default(), Vec::new());
            for part in bytes.chunks(step) {
                decoder.feed(part).expect("frames");
                got.extend(all(&mut decoder));
            }
            got.sort_by_key(|(lane, message)| (lane.number(), message.stream));
            let seen: Vec<_> =
                got.iter().map(|(l, m)| (*l, m.stream, m.kind, m.payload.len())).collect();
            assert_eq!(
                seen,
                [
                    (Lane::Plugin, 1, Kind::Request, 3),
                    (Lane::Plugin, 3, Kind::Response, long.len()),
                    (Lane::Runtime, 9, Kind::Response, 0)
                ],
                "in steps of {step}"
            );
        }
    }

    #[test]
    fn a_message_has_at_most_two_frames_and_the_first_is_short() {
        let frames = encode(Lane::Runtime, 1, Kind::Request, &vec![0; MESSAGE_MAX]);
        let first = u32::from_be_bytes(frames[4..8].try_into().expect("four bytes"));
        assert_eq!(usize::try_from(first), Ok(FIRST_FRAME));
        let mut decoder = Decoder::default();
        decoder.feed(&frames).expect("frames");
        assert_eq!(all(&mut decoder)[0].1.payload.len(), MESSAGE_MAX);
        assert_eq!(encode(Lane::Plugin, 1, Kind::Request, b"x").len(), FRAME_HEADER + HEADER + 1);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_anything_is_kept() {
        let mut decoder = Decoder::default();
        let huge = [&1_u32.to_be_bytes()[..], &u32::MAX.to_be_bytes()[..]].concat();
        assert_eq!(decoder.feed(&huge), Err(Broken::Frame(u32::MAX)));
        let mut decoder = Decoder::default();
        let mut header = u32::MAX.to_be_bytes().to_vec();
        header.extend([0, 0, 0, 1, 1, 0]);
        decoder.feed(&frame(1, &header)).expect("a frame");
        assert_eq!(decoder.message(), Err(Broken::Message(u32::MAX)));
        let claimed = u32::try_from(MESSAGE_MAX).expect("length").to_be_bytes();
        let mut decoder = Decoder::default();
        decoder.feed(&frame(1, &[&claimed[..], &[0, 0, 0, 1, 1, 0]].concat())).expect("a frame");
        assert_eq!(decoder.message(), Ok(None));
        assert!(decoder.plugin.capacity() < 1 << 16, "room for what came, not for what is claimed");
    }

    #[test]
    fn unknown_connections_and_kinds_are_passed_over() {
        let mut decoder = Decoder::default();
        let mut bytes = frame(7, b"not a message at all");
        bytes.extend(frame(1, &[0, 0, 0, 1, 0, 0, 0, 5, 3, 0, 42]));
        bytes.extend(frame(1, &[]));
        bytes.extend(encode(Lane::Plugin, 5, Kind::Response, b"yes"));
        decoder.feed(&bytes).expect("frames");
        let got = all(&mut decoder);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].1.payload, &b"yes"[..]);
    }
}
