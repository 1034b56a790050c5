//! Chunks as they arrive from elsewhere, read as one stream.

use std::io::{self, Read};

/// Reads what an iterator of chunks yields, such as the receiving end of a bounded channel that a
/// download fills. An error of the iterator ends the stream with that error.
#[derive(Debug)]
pub struct Chunks<I, B> {
    source: I,
    current: Option<B>,
    taken: usize,
}

impl<I, B> Chunks<I, B>
where
    I: Iterator<Item = io::Result<B>>,
    B: AsRef<[u8]>,
{
    /// A reader of what `source` yields.
    pub fn new(source: I) -> Chunks<I, B> {
        Chunks { source, current: None, taken: 0 }
    }
}

impl<I, B> Read for Chunks<I, B>
where
    I: Iterator<Item = io::Result<B>>,
    B: AsRef<[u8]>,
{
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(chunk) = &self.current {
                let rest = &chunk.as_ref()[self.taken..];
                if !rest.is_empty() {
                    let count = rest.len().min(into.len());
                    into[..count].copy_from_slice(&rest[..count]);
                    self.taken += count;
                    return Ok(count);
                }
            }
            self.taken = 0;
            self.current = self.source.next().transpose()?;
            if self.current.is_none() {
                return Ok(0);
            }
        }
    }
}
