//! Frames (SPDY/3.1, section 2.2 and 2.6).

/// Bytes of every frame's head.
pub const HEAD: usize = 8;

/// The longest body of a control frame. Header blocks of these protocols have some 100 bytes.
pub const MAX_CONTROL: usize = 16 << 10;

/// The side that sends this has no more data on the stream.
pub const FLAG_FIN: u8 = 1;

const VERSION: u16 = 3;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
/// The kind of frame that ends a stream in both directions.
pub const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Stream identifiers have 31 bits.
const STREAM_BITS: u32 = 0x7FFF_FFFF;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Data of a stream follow.
    Data {
        /// Which stream.
        stream: u32,
        /// [`FLAG_FIN`] or nothing.
        flags: u8,
        /// Bytes that follow.
        length: usize,
    },
    /// A control frame follows.
    Control {
        /// Which kind of.
        kind: u16,
        /// Flags, with a meaning that depends on the kind.
        flags: u8,
        /// Bytes that follow.
        length: usize,
    },
}

/// A client's control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// Opens a stream.
    SynStream {
        /// Which stream.
        stream: u32,
        /// Whether the client will send no data on it.
        finished: bool,
        /// Its headers, compressed.
        headers: &'a [u8],
    },
    /// Ends a stream in both directions.
    Reset {
        /// Which stream.
        stream: u32,
    },
    /// Wants the same back.
    Ping {
        /// What to send back.
        id: u32,
    },
    /// The client opens no more streams.
    GoAway,
    /// Headers that come later: they are part of the compressed stream and must be decompressed.
    Headers {
        /// Compressed.
        headers: &'a [u8],
    },
    /// Nothing that matters here: settings, windows, kinds that are not known (section 2.2.1).
    Ignored,
}

/// Reads a frame's head.
///
/// # Errors
/// The frame is of another version of SPDY, or a control frame of an excessive length.
pub fn head(bytes: [u8; HEAD]) -> Result<Head, &'static str> {
    let [a, b, c, d, flags, e, f, g] = bytes;
    let length = u32::from_be_bytes([0, e, f, g]) as usize;
    let first = u32::from_be_bytes([a, b, c, d]);
    if first & !STREAM_BITS == 0 {
        return Ok(Head::Data { stream: first, flags, length });
    }
    if u16::from_be_bytes([a, b]) & 0x7FFF != VERSION {
        return Err("a frame is of another version than SPDY/3.1");
    }
    if length > MAX_CONTROL {
        return Err("a control frame is longer than 16 KiB");
    }
    Ok(Head::Control { kind: u16::from_be_bytes([c, d]), flags, length })
}

/// Reads a control frame's body.
///
/// # Errors
/// It is too short for its kind.
pub fn control(kind: u16, flags: u8, body: &[u8]) -> Result<Control<'_>, &'static str> {
    let word = |at: usize| {
        let bytes = body.get(at..at + 4).and_then(|word| word.try_into().ok());
        bytes.map(u32::from_be_bytes).ok_or("a control frame is too short")
    };
    let stream = || word(0).map(|word| word & STREAM_BITS);
    let rest = |at: usize| body.get(at..).ok_or("a control frame is too short");
    Ok(match kind {
        SYN_STREAM => Control::SynStream {
            stream: stream()?,
            finished: flags & FLAG_FIN != 0,
            headers: rest(10)?,
        },
        SYN_REPLY => return Err("a client answers a stream that was not opened"),
        RST_STREAM => {
            word(4)?;
            Control::Reset { stream: stream()? }
        }
        PING => Control::Ping { id: word(0)? },
        GOAWAY => {
            stream()?;
            Control::GoAway
        }
        HEADERS => {
            stream()?;
            Control::Headers { headers: rest(4)? }
        }
        SETTINGS | WINDOW_UPDATE => {
            word(0)?;
            Control::Ignored
        }
        _ => Control::Ignored,
    })
}

/// Why a stream is reset (section 2.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The stream breaks the protocol.
    Protocol = 1,
    /// The stream is one too many.
    Refused = 3,
    /// The stream is not needed any more.
    Cancel = 5,
    /// What is behind the stream broke.
    Internal = 6,
}

/// Why a session ends (section 2.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// It is over.
    Ok = 0,
    /// The client breaks the protocol.
    Protocol = 1,
}

/// The head of a data frame; `length` is at most 2^24 - 1.
pub fn data(stream: u32, flags: u8, length: usize) -> [u8; HEAD] {
    let [a, b, c, d] = stream.to_be_bytes();
    let [_, e, f, g] = (length as u32).to_be_bytes();
    [a, b, c, d, flags, e, f, g]
}

/// Opens a client's stream, with its compressed headers.
pub fn syn_stream(stream: u32, headers: &[u8]) -> Vec<u8> {
    // No associated stream, no priority.
    write(SYN_STREAM, &[&stream.to_be_bytes(), &[0; 6], headers])
}

/// Accepts a stream, with its compressed headers.
pub fn syn_reply(stream: u32, headers: &[u8]) -> Vec<u8> {
    write(SYN_REPLY, &[&stream.to_be_bytes(), headers])
}

/// Ends a stream.
pub fn reset(stream: u32, why: Reset) -> Vec<u8> {
    write(RST_STREAM, &[&stream.to_be_bytes(), &(why as u32).to_be_bytes()])
}

/// Answers a ping.
pub fn ping(id: u32) -> Vec<u8> {
    write(PING, &[&id.to_be_bytes()])
}

/// Ends a session; `last` is the last stream that was accepted.
pub fn go_away(last: u32, why: Goodbye) -> Vec<u8> {
    write(GOAWAY, &[&last.to_be_bytes(), &(why as u32).to_be_bytes()])
}

fn write(kind: u16, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>() as u32;
    let mut frame = Vec::with_capacity(HEAD + length as usize);
    frame.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    frame.extend_from_slice(&kind.to_be_bytes());
    // No flags; the length has 24 bits.
    frame.extend_from_slice(&length.to_be_bytes());
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(frame: &[u8]) -> (u16, u8, &[u8]) {
        match head(frame[..HEAD].try_into().unwrap()).unwrap() {
            Head::Control { kind, flags, length } => (kind, flags, &frame[HEAD..HEAD + length]),
            Head::Data { .. } => unreachable!("a data frame"),
        }
    }

    #[test]
    fn data_frames_go_both_ways() {
        let bytes = data(7, FLAG_FIN, 0x01_02_03);
        assert_eq!(bytes, [0, 0, 0, 7, 1, 1, 2, 3]);
        assert_eq!(head(bytes), Ok(Head::Data { stream: 7, flags: 1, length: 0x01_02_03 }));
    }

    #[test]
    fn control_frames_go_both_ways() {
        let frame = ping(0xFFFF_FFFF);
        assert_eq!(frame, [0x80, 3, 0, 6, 0, 0, 0, 4, 255, 255, 255, 255]);
        let (kind, flags, body) = read(&frame);
        assert_eq!(control(kind, flags, body), Ok(Control::Ping { id: u32::MAX }));
        let frame = reset(5, Reset::Refused);
        let (kind, flags, body) = read(&frame);
        assert_eq!(control(kind, flags, body), Ok(Control::Reset { stream: 5 }));
        assert_eq!(frame[12..], [0, 0, 0, 3]);
    }

    #[test]
    fn a_stream_is_opened_with_its_headers() {
        let body = [0x80, 0, 0, 9, 0, 0, 0, 0, 0, 0, 1, 2, 3];
        let opened = Control::SynStream { stream: 9, finished: true, headers: &[1, 2, 3] };
        assert_eq!(control(SYN_STREAM, FLAG_FIN, &body), Ok(opened));
        assert!(control(SYN_STREAM, 0, &body[..9]).is_err());
        assert!(control(RST_STREAM, 0, &body[..7]).is_err());
    }

    #[test]
    fn other_versions_and_long_control_frames_are_refused() {
        assert!(head([0x80, 2, 0, 1, 0, 0, 0, 10]).is_err());
        assert!(head([0x80, 3, 0, 1, 0, 0, 0x40, 1]).is_err());
        assert!(head([0x80, 3, 0, 1, 0, 0, 0x40, 0]).is_ok());
        assert_eq!(control(77, 0, &[]), Ok(Control::Ignored));
    }
}
