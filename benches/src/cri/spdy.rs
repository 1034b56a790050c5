//! A client of streams that counts bytes: SPDY/3.1, which every server takes.

use crate::error::{About, Error, Result};
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use streaming::wire::spdy::frame::{self, FLAG_FIN, HEAD, Head};
use streaming::wire::spdy::headers::Packer;

/// How long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;
/// Data of a frame that is sent: what clients of this protocol copy at a time.
const BLOCK: usize = 32 << 10;
/// What is kept of other streams, to be told if something fails.
const TOLD: usize = 1 << 10;

/// A connection with its streams opened.
#[derive(Debug)]
pub(crate) struct Session {
    stream: TcpStream,
}

impl Session {
    /// Connects to a URL and opens streams with these headers, numbered 1, 3, 5 and so on.
    pub(crate) fn open(url: &str, protocol: &str, streams: &[&[(&str, &str)]]) -> Result<Session> {
        let rest = url.strip_prefix("http://").and_then(|rest| rest.split_once('/'));
        let (host, path) = rest.ok_or_else(|| Error::new(url, "is no URL of http"))?;
        let mut stream = TcpStream::connect(host).about(host)?;
        stream.set_nodelay(true).about(host)?;
        stream.set_read_timeout(Some(PATIENCE)).about(host)?;
        stream.set_write_timeout(Some(PATIENCE)).about(host)?;
        let request = format!(
            "POST /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
             X-Stream-Protocol-Version: {protocol}\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).about(host)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).about(host)?;
            answer.extend(byte);
        }
        if !answer.starts_with(b"HTTP/1.1 101") {
            return Err(Error::new(url, String::from_utf8_lossy(&answer).trim()));
        }
        let mut packer = Packer::default();
        for (number, headers) in (0..).zip(streams) {
            let block = packer.write(headers).about(url)?;
            stream.write_all(&frame::syn_stream(number * 2 + 1, &block)).about(host)?;
        }
        Ok(Session { stream })
    }

    /// Sends `bytes` on a stream.
    pub(crate) fn send(&mut self, on: u32, bytes: u64) -> Result<()> {
        let (head, block) = (frame::data(on, 0, BLOCK), [0; BLOCK]);
        for _ in 0..bytes.div_ceil(BLOCK as u64) {
            let mut parts = &mut [IoSlice::new(&head), IoSlice::new(&block)][..];
            while !parts.is_empty() {
                let sent = self.stream.write_vectored(parts).about("stream")?;
                IoSlice::advance_slices(&mut parts, sent);
            }
        }
        Ok(())
    }

    /// Says that nothing more will come on a stream.
    pub(crate) fn finish(&mut self, on: u32) -> Result<()> {
        self.stream.write_all(&frame::data(on, FLAG_FIN, 0)).about("stream")
    }

    /// Reads until so many bytes have come on a stream.
    pub(crate) fn receive(&mut self, on: u32, bytes: u64) -> Result<()> {
        let mut tally = Tally { on, ..Tally::default() };
        let mut buffer = vec![0; CHUNK];
        while tally.bytes < bytes {
            let count = self.stream.read(&mut buffer).about("stream")?;
            if count == 0 || tally.ended {
                let told = String::from_utf8_lossy(&tally.told).into_owned();
                let cause = format!("ended after {} of {bytes} bytes: {told}", tally.bytes);
                return Err(Error::new("stream", cause));
            }
            tally.take(&buffer[..count])?;
        }
        Ok(())
    }
}

/// Counts what comes on one stream.
#[derive(Debug, Default)]
struct Tally {
    on: u32,
    bytes: u64,
    /// Whether the stream has ended.
    ended: bool,
    /// The beginning of what came on other streams.
    told: Vec<u8>,
    /// Of the next head.
    head: Vec<u8>,
    /// What is left of the frame at hand, and its stream, if it has one.
    left: usize,
    at: Option<u32>,
}

impl Tally {
    fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (body, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= body.len();
                self.count(body);
                bytes = rest;
                continue;
            }
            let (part, rest) = bytes.split_at((HEAD - self.head.len()).min(bytes.len()));
            self.head.extend_from_slice(part);
            bytes = rest;
            if let Ok(head) = <[u8; HEAD]>::try_from(&self.head[..]) {
                self.head.clear();
                self.begin(frame::head(head).about("frame")?);
            }
        }
        Ok(())
    }

    fn begin(&mut self, head: Head) {
        match head {
            Head::Data { stream, flags, length } => {
                self.ended |= stream == self.on && flags & FLAG_FIN != 0;
                (self.at, self.left) = (Some(stream), length);
            }
            Head::Control { length, .. } => (self.at, self.left) = (None, length),
        }
    }

    fn count(&mut self, body: &[u8]) {
        match self.at {
            Some(stream) if stream == self.on => self.bytes += body.len() as u64,
            Some(_) if self.told.len() < TOLD => self.told.extend_from_slice(body),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_one_stream_however_the_bytes_come() {
        let mut wire = frame::syn_reply(3, &[1, 2, 3]);
        wire.extend([&frame::data(3, 0, 5)[..], b"12345", &frame::data(1, 0, 2), b"no"].concat());
        wire.extend([&frame::data(3, FLAG_FIN, 1)[..], b"6"].concat());
        for size in 1..=wire.len() {
            let mut tally = Tally { on: 3, ..Tally::default() };
            for piece in wire.chunks(size) {
                tally.take(piece).unwrap();
            }
            assert_eq!((tally.bytes, tally.ended), (6, true), "pieces of {size}");
            assert_eq!(tally.told, b"no");
        }
    }
}
