//! The decompressed stream: buffered, hashed, bounded.

use crate::compression::Decoder;
use crate::error::{Error, Kind};
use crate::limits::Limits;
use content_digest::{Digest, Hasher};
use std::io::Read;

/// Decompressed bytes held at once: also the largest single write of a file.
const BUFFER_BYTES: usize = 256 << 10;

/// A decompressed layer.
pub(crate) struct Stream<R: Read> {
    decoder: Decoder<R>,
    hash: Hasher,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    total: u64,
    limits: Limits,
}

/// What the two ends of a stream turned out to be.
pub(crate) struct Ends {
    pub(crate) diff_id: Digest,
    pub(crate) bytes: u64,
    pub(crate) compressed: u64,
}

impl<R: Read> Stream<R> {
    pub(crate) fn new(decoder: Decoder<R>, hash: Hasher, limits: &Limits) -> Stream<R> {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Stream { decoder, hash, buffer, at: 0, end: 0, total: 0, limits: limits.clone() }
    }

    /// The bytes at hand, at least one but at the end of the stream.
    pub(crate) fn fill(&mut self) -> Result<&[u8], Error> {
        if self.at == self.end {
            let count = self.decoder.read(&mut self.buffer)?;
            self.hash.update(&self.buffer[..count]);
            (self.at, self.end) = (0, count);
            self.total += count as u64;
            self.check()?;
        }
        Ok(&self.buffer[self.at..self.end])
    }

    fn check(&mut self) -> Result<(), Error> {
        if self.total > self.limits.bytes {
            let detail = format!("unpacks to more than {} bytes", self.limits.bytes);
            return Err(Error::new(Kind::Limit, "layer", detail));
        }
        let compressed = self.decoder.compressed();
        if self.total > self.limits.ratio_from && self.total / self.limits.ratio.max(1) > compressed
        {
            let detail = format!("{compressed} bytes unpack to {} and more: too much", self.total);
            return Err(Error::new(Kind::Limit, "layer", detail));
        }
        Ok(())
    }

    /// Takes `count` of the bytes that [`Stream::fill`] gave.
    pub(crate) fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.end);
    }

    /// Fills `into`; says how much of it before the end of the stream.
    pub(crate) fn read_full(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < into.len() {
            let chunk = self.fill()?;
            if chunk.is_empty() {
                break;
            }
            let count = chunk.len().min(into.len() - filled);
            into[filled..filled + count].copy_from_slice(&chunk[..count]);
            self.consume(count);
            filled += count;
        }
        Ok(filled)
    }

    /// Passes over `count` bytes.
    pub(crate) fn skip(&mut self, mut count: u64) -> Result<(), Error> {
        while count > 0 {
            let chunk = self.fill()?.len();
            if chunk == 0 {
                return Err(truncated());
            }
            let step = chunk.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.consume(step);
            count -= step as u64;
        }
        Ok(())
    }

    /// Reads what follows the archive, to the end.
    pub(crate) fn drain(&mut self) -> Result<(), Error> {
        loop {
            let count = self.fill()?.len();
            if count == 0 {
                return Ok(());
            }
            self.consume(count);
        }
    }

    /// After [`Stream::drain`]: checks the compressed side.
    pub(crate) fn finish(self, digest: Option<&Digest>, size: Option<u64>) -> Result<Ends, Error> {
        let compressed = self.decoder.finish(digest, size)?;
        Ok(Ends { diff_id: self.hash.finish(), bytes: self.total, compressed })
    }

    /// The decoder, for a verdict on a stream that turned out bad.
    pub(crate) fn into_decoder(self) -> Decoder<R> {
        self.decoder
    }
}

/// The stream ends inside an entry.
pub(crate) fn truncated() -> Error {
    Error::new(Kind::Truncated, "layer", "the tar stream ends in the middle of an entry")
}
