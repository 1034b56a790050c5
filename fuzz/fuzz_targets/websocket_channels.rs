//! A WebSocket client's frames and the channels in them: any bytes end in pieces of channels or in an
//! error, and pieces hold no more than the frames did.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streaming::wire::websocket::frame::{MAX_CONTROL, parse, unmask};
use streaming::wire::websocket::{Decoder, Kind, Piece};

fuzz_target!(|input: (bool, &[u8])| {
    let (base64, mut rest) = input;
    let kind = if base64 { Kind::Base64 } else { Kind::Binary };
    let mut decoder = Decoder::new(kind);
    let mut first = true;
    while let Ok(Some((head, used))) = parse(rest) {
        assert!(used <= 14);
        let body = &rest[used..];
        let length = usize::try_from(head.length).unwrap_or(usize::MAX).min(body.len());
        let mut bytes = body[..length].to_vec();
        unmask(&mut bytes, head.mask, 0);
        rest = &body[length..];
        if head.opcode.is_control() {
            assert!(head.length <= MAX_CONTROL && head.last);
            continue;
        }
        let piece = Piece { first, last: head.last, bytes: bytes.as_slice().into() };
        first = head.last;
        match decoder.decode(piece) {
            Ok(Some((channel, found))) => {
                assert!(!base64 || channel < 10);
                assert!(found.len() <= bytes.len() + 3);
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
});
