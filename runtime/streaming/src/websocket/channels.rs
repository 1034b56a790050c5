//! Channels: several streams in one WebSocket connection. The first byte of a message names its
//! channel; in the base64 protocols that is a digit, and the rest is base64.

use super::reader::{Piece, Reader};
use super::sender::Kind;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use std::io;

/// The channel that closes another one, from version 5 on.
pub(crate) const CLOSE: u8 = 255;

/// Reads what a client sends on its channels.
pub(crate) struct Channels {
    reader: Reader,
    decoder: Decoder,
}

impl Channels {
    pub(crate) fn new(reader: Reader, kind: Kind) -> Channels {
        Channels { reader, decoder: Decoder::new(kind) }
    }

    /// The next bytes and their channel; nothing when the client is gone.
    pub(crate) async fn next(&mut self) -> io::Result<Option<(u8, Bytes)>> {
        while let Some(piece) = self.reader.next().await? {
            if let Some(found) = self.decoder.decode(piece).map_err(broken)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Takes messages apart: which channel, which bytes.
#[derive(Debug)]
pub struct Decoder {
    base64: bool,
    channel: Option<u8>,
    /// Letters that do not make a group of four yet.
    group: Vec<u8>,
}

impl Decoder {
    /// A decoder for messages of `kind`.
    pub fn new(kind: Kind) -> Decoder {
        Decoder { base64: kind == Kind::Base64, channel: None, group: Vec::new() }
    }

    /// What a piece of a message holds; nothing if it is not enough for a byte.
    ///
    /// # Errors
    /// The message is no base64, or its channel no digit.
    pub fn decode(&mut self, piece: Piece) -> Result<Option<(u8, Bytes)>, &'static str> {
        let Piece { first, last, bytes: mut piece } = piece;
        if first {
            self.channel = None;
            self.group.clear();
        }
        if self.channel.is_none() && !piece.is_empty() {
            let byte = piece.get_u8();
            self.channel = Some(if self.base64 { digit(byte)? } else { byte });
        }
        let Some(channel) = self.channel else { return Ok(None) };
        let bytes = if self.base64 { self.letters(&piece, last)? } else { piece.freeze() };
        Ok((last || !bytes.is_empty()).then_some((channel, bytes)))
    }

    fn letters(&mut self, piece: &[u8], last: bool) -> Result<Bytes, &'static str> {
        let mut letters = std::mem::take(&mut self.group);
        letters.extend_from_slice(piece);
        let whole = letters.len() - letters.len() % 4;
        if last && whole < letters.len() {
            return Err("a message is no base64: its length is no multiple of four");
        }
        self.group = letters.split_off(whole);
        let bytes = STANDARD.decode(letters).map_err(|_| "a message is no base64")?;
        Ok(bytes.into())
    }
}

fn digit(byte: u8) -> Result<u8, &'static str> {
    byte.is_ascii_digit().then(|| byte - b'0').ok_or("a channel is no digit")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece; whether it begins and ends its message.
    fn piece(bytes: &str, [first, last]: [bool; 2]) -> Piece {
        Piece { first, last, bytes: bytes.into() }
    }

    #[test]
    fn messages_in_pieces_keep_their_channel() {
        let mut decoder = Decoder::new(Kind::Binary);
        assert_eq!(decoder.decode(piece("", [true, false])), Ok(None));
        assert_eq!(decoder.decode(piece("\0ab", [false, false])), Ok(Some((0, "ab".into()))));
        assert_eq!(decoder.decode(piece("c", [false, true])), Ok(Some((0, "c".into()))));
        assert_eq!(decoder.decode(piece("\u{4}{}", [true, true])), Ok(Some((4, "{}".into()))));
        assert_eq!(decoder.decode(piece("\0", [true, true])), Ok(Some((0, "".into()))));
        assert_eq!(decoder.decode(piece("", [true, true])), Ok(None));
    }

    #[test]
    fn base64_is_read_across_pieces() {
        let mut decoder = Decoder::new(Kind::Base64);
        assert_eq!(decoder.decode(piece("0aG", [true, false])), Ok(None));
        assert_eq!(decoder.decode(piece("VsbG", [false, false])), Ok(Some((0, "hel".into()))));
        assert_eq!(decoder.decode(piece("8=", [false, true])), Ok(Some((0, "lo".into()))));
        assert!(decoder.decode(piece("0aGV", [true, true])).is_err());
        assert!(decoder.decode(piece("0a*bc", [true, true])).is_err());
        assert!(decoder.decode(piece("xaGVs", [true, true])).is_err());
    }
}
