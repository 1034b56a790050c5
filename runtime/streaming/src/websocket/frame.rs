//! Heads of frames (RFC 6455, section 5.2).

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message before.
    Continuation,
    /// A message of text.
    Text,
    /// A message of bytes.
    Binary,
    /// The end.
    Close,
    /// Wants a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl Opcode {
    /// Control frames may stand between the frames of a message.
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    fn from_bits(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0x0,
            Opcode::Text => 0x1,
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Ping => 0x9,
            Opcode::Pong => 0xA,
        }
    }
}

/// The head of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub opcode: Opcode,
    /// Whether it is the last one of its message.
    pub last: bool,
    /// Bytes that follow.
    pub length: u64,
    /// What they are masked with.
    pub mask: [u8; 4],
}

/// The longest body of a control frame.
pub const MAX_CONTROL: u64 = 125;

/// Bytes of the longest head of an answer, which has no mask.
pub const MAX_ANSWER_HEAD: usize = 10;

/// The head at the beginning of `bytes` and its length, or nothing if more bytes are needed.
///
/// # Errors
/// The client breaks the protocol; says how.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, &'static str> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err("a frame has bits of extensions that were not agreed on");
    }
    let opcode = Opcode::from_bits(first & 0x0F).ok_or("a frame has an unknown opcode")?;
    if second & 0x80 == 0 {
        return Err("a client's frame has no mask");
    }
    let Some((length, rest)) = length(second & 0x7F, rest)? else { return Ok(None) };
    let Some(&mask) = rest.first_chunk() else { return Ok(None) };
    let last = first & 0x80 != 0;
    if opcode.is_control() && (!last || length > MAX_CONTROL) {
        return Err("a control frame is in parts or longer than 125 bytes");
    }
    let used = bytes.len() - rest.len() + mask.len();
    Ok(Some((Head { opcode, last, length, mask }, used)))
}

fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, &'static str> {
    let (length, least, rest) = match short {
        126 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), 126, rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), 1 << 16, rest),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, rest),
    };
    if length < least || length > i64::MAX as u64 {
        return Err("the length of a frame is not written as short as can be");
    }
    Ok(Some((length, rest)))
}

/// Writes the head of an unmasked, whole message of `length` bytes; returns the head's length.
pub fn write(opcode: Opcode, length: usize, to: &mut [u8; MAX_ANSWER_HEAD]) -> usize {
    to[0] = 0x80 | opcode.bits();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => {
            to[1] = short;
            2
        }
        (_, Ok(medium)) => {
            to[1] = 126;
            to[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        }
        _ => {
            to[1] = 127;
            to[2..].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    }
}

/// Takes the mask off `bytes`, which stand at `offset` of their frame's body.
pub fn unmask(bytes: &mut [u8], mask: [u8; 4], offset: u64) {
    let mut turned = mask;
    turned.rotate_left((offset % 4) as usize);
    let [a, b, c, d] = turned;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        if let Ok(whole) = <&mut [u8; 8]>::try_from(word) {
            *whole = (u64::from_ne_bytes(*whole) ^ wide).to_ne_bytes();
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(turned.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455_is_read() {
        // Section 5.7: a masked text message "Hello".
        let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let (head, used) = parse(&frame).unwrap().unwrap();
        assert_eq!((head.opcode, head.last, head.length, used), (Opcode::Text, true, 5, 6));
        let mut body = frame[used..].to_vec();
        unmask(&mut body, head.mask, 0);
        assert_eq!(body, b"Hello");
    }

    #[test]
    fn a_head_in_pieces_waits_for_the_rest() {
        let frame = [0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4];
        for cut in 0..frame.len() {
            assert_eq!(parse(&frame[..cut]), Ok(None), "{cut} bytes");
        }
        let (head, used) = parse(&frame).unwrap().unwrap();
        assert_eq!((head.length, used, head.mask), (65536, 14, [1, 2, 3, 4]));
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        for (frame, what) in [
            (&[0xC2, 0x80][..], "reserved bit"),
            (&[0x83, 0x80], "opcode"),
            (&[0x82, 0x01, 0], "no mask"),
            (&[0x09, 0x80, 0, 0, 0, 0], "ping in parts"),
            (&[0x89, 0xFE, 0, 200, 0, 0, 0, 0], "long ping"),
            (&[0x82, 0xFE, 0, 5, 0, 0, 0, 0], "long form of a short length"),
            (&[0x82, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "negative length"),
        ] {
            assert!(parse(frame).is_err(), "{what}");
        }
    }

    #[test]
    fn answers_have_the_shortest_head() {
        let mut head = [0; MAX_ANSWER_HEAD];
        assert_eq!(write(Opcode::Binary, 125, &mut head), 2);
        assert_eq!(write(Opcode::Binary, 126, &mut head), 4);
        assert_eq!(head[..4], [0x82, 126, 0, 126]);
        assert_eq!(write(Opcode::Text, 65536, &mut head), 10);
        assert_eq!(head, [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn masks_go_on_in_the_middle_of_a_body() {
        let mask = [1, 2, 4, 8];
        let mut whole: Vec<u8> = (0..100).collect();
        unmask(&mut whole, mask, 0);
        for cut in [1, 3, 8, 50] {
            let mut parts: Vec<u8> = (0..100).collect();
            let (one, two) = parts.split_at_mut(cut);
            unmask(one, mask, 0);
            unmask(two, mask, cut as u64);
            assert_eq!(parts, whole);
        }
        assert_eq!(whole[..5], [1, 3, 6, 11, 5]);
    }
}
