//! What a plugin sends over its socket: frames, messages, and what they hold. Whatever comes, no more
//! messages come out than bytes went in, and a message that comes out goes in again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nri::wire::{Decoder, Request, Response, encode};
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let (step, data) = data.split_first().map_or((1, data), |(step, data)| (usize::from(*step) + 1, data));
    let (mut decoder, mut messages) = (Decoder::default(), 0);
    for part in data.chunks(step) {
        if decoder.feed(part).is_err() {
            return;
        }
        while let Ok(Some((lane, message))) = decoder.message() {
            messages += 1;
            // Neither has to be one; both must be told without harm.
            let _request = Request::decode(message.payload.clone());
            let _response = Response::decode(message.payload.clone());
            let mut again = Decoder::default();
            again.feed(&encode(lane, message.stream, message.kind, &message.payload)).unwrap();
            assert_eq!(again.message().unwrap(), Some((lane, message)));
        }
    }
    assert!(messages <= data.len() / 10);
});
