//! Calls without arguments whose answers are taken whole and not read: what a client does with an answer
//! is its own time, and no server's.

use prost::bytes::{Buf, Bytes};
use std::time::{Duration, Instant};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// How large an answer may be, in bytes.
const MOST: usize = 64 << 20;

/// Time until the whole answer of a method, such as `/runtime.v1.RuntimeService/Version`, is there.
pub(super) async fn time(channel: &Channel, method: &'static str) -> Result<Duration, Status> {
    let mut caller = Grpc::new(channel.clone()).max_decoding_message_size(MOST);
    let path = PathAndQuery::from_static(method);
    let begun = Instant::now();
    caller.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    caller.unary(Request::new(()), path, Unread).await?;
    Ok(begun.elapsed())
}

/// An empty message, and any answer as its bytes.
struct Unread;

impl Codec for Unread {
    type Encode = ();
    type Decode = Bytes;
    type Encoder = Unread;
    type Decoder = Unread;

    fn encoder(&mut self) -> Unread {
        Unread
    }

    fn decoder(&mut self) -> Unread {
        Unread
    }
}

impl Encoder for Unread {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Unread {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
