//! A SPDY client's frames one after another, headers decompressed: any bytes end in frames or in an
//! error, and what is kept of them is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streaming::wire::spdy::frame::{self, Control, HEAD, Head, MAX_CONTROL};
use streaming::wire::spdy::headers::Unpacker;

fuzz_target!(|bytes: &[u8]| {
    let mut unpacker = Unpacker::default();
    let mut rest = bytes;
    while let Some((head, body)) = rest.split_first_chunk::<HEAD>() {
        let length = match frame::head(*head) {
            Ok(Head::Data { length, .. }) => {
                assert!(length < 1 << 24);
                length
            }
            Ok(Head::Control { kind, flags, length }) => {
                assert!(length <= MAX_CONTROL);
                let Some(body) = body.get(..length) else { return };
                if !control(kind, flags, body, &mut unpacker) {
                    return;
                }
                length
            }
            Err(_) => return,
        };
        rest = body.get(length..).unwrap_or_default();
    }
});

/// Whether the session goes on.
fn control(kind: u16, flags: u8, body: &[u8], unpacker: &mut Unpacker) -> bool {
    let headers = match frame::control(kind, flags, body) {
        Ok(Control::SynStream { stream, headers, .. }) => {
            assert!(stream < 1 << 31);
            headers
        }
        Ok(Control::Headers { headers }) => headers,
        other => return other.is_ok(),
    };
    let Ok(headers) = unpacker.read(headers) else { return false };
    assert!(headers.len() <= 64);
    let length: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(length <= 16 << 10);
    true
}
