//! Sparse files: GNU's old headers, and the pax forms 0.0, 0.1 and 1.0.

use super::BLOCK;
use super::field::{Header, number};
use super::pax::{Extended, decimal};
use super::stream::{Stream, truncated};
use crate::error::{Error, Kind};
use std::io::Read;

/// Where the data of a sparse file lies: pieces in order, and the size of the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Map {
    /// Offset and length of each piece, ascending.
    pub(crate) pieces: Vec<(u64, u64)>,
    /// Size of the file, holes included.
    pub(crate) size: u64,
}

/// Pieces a map may have; beyond, its file is no file of an image.
const MOST_PIECES: usize = 1 << 16;

fn bad(detail: &str) -> Error {
    Error::new(Kind::Format, "sparse file", detail)
}

impl Map {
    /// Pieces must ascend, not overlap, lie within the size, and have `stored` bytes in all.
    fn checked(self, stored: u64) -> Result<Map, Error> {
        let mut end = 0u64;
        let mut sum = 0u64;
        for (offset, length) in &self.pieces {
            if *offset < end {
                return Err(bad("its pieces overlap"));
            }
            end = offset.checked_add(*length).ok_or_else(|| bad("a piece is out of range"))?;
            sum = sum.checked_add(*length).ok_or_else(|| bad("its pieces are too long"))?;
        }
        if end > self.size || i64::try_from(self.size).is_err() {
            return Err(bad("its pieces reach over its end"));
        }
        if sum != stored {
            return Err(bad("its map does not agree with the size of its data"));
        }
        Ok(self)
    }

    fn push(&mut self, offset: u64, length: u64) -> Result<(), Error> {
        if self.pieces.len() == MOST_PIECES {
            return Err(Error::new(Kind::Limit, "sparse file", "its map is too long"));
        }
        if length > 0 {
            self.pieces.push((offset, length));
        }
        Ok(())
    }

    /// Adds the entries of a field of old headers: 12 bytes offset, 12 bytes length each. False
    /// after the last one.
    fn push_fields(&mut self, fields: &[u8]) -> Result<bool, Error> {
        for field in fields.chunks_exact(24) {
            if field[0] == 0 {
                return Ok(false);
            }
            let part = |field| {
                u64::try_from(number(field, "the map")?).map_err(|_| bad("a negative number"))
            };
            self.push(part(&field[..12])?, part(&field[12..])?)?;
        }
        Ok(true)
    }
}

/// Reads the map of an old GNU sparse header (type `S`) and the blocks that continue it.
pub(crate) fn old_gnu<R: Read>(
    header: &Header<'_>,
    stored: u64,
    stream: &mut Stream<R>,
) -> Result<Map, Error> {
    let block = header.block();
    let size = u64::try_from(number(&block[483..495], "the real size")?)
        .map_err(|_| bad("a negative size"))?;
    let mut map = Map { pieces: Vec::new(), size };
    let mut more = map.push_fields(&block[386..482])? && block[482] != 0;
    while more {
        let mut next = [0; BLOCK];
        if stream.read_full(&mut next)? < BLOCK {
            return Err(truncated());
        }
        more = map.push_fields(&next[..504])? && next[504] != 0;
    }
    map.checked(stored)
}

/// Reads the map that pax records tell of, or the one at the head of the data (1.0). Returns it
/// with the number of data bytes it took, and the file's real name.
pub(crate) fn pax<R: Read>(
    extended: &mut Extended,
    stored: u64,
    stream: &mut Stream<R>,
) -> Result<Option<(Map, u64)>, Error> {
    if extended.sparse.is_empty() {
        return Ok(None);
    }
    let mut map = Map::default();
    let (mut major, mut offset, mut list) = (0, None, None);
    for (key, value) in std::mem::take(&mut extended.sparse) {
        match key.as_slice() {
            b"major" => major = decimal(&value)?,
            b"size" | b"realsize" => map.size = decimal(&value)?,
            b"name" => extended.path = Some(value),
            b"offset" => offset = Some(decimal(&value)?),
            b"numbytes" => {
                let at = offset.take().ok_or_else(|| bad("a length without an offset"))?;
                map.push(at, decimal(&value)?)?;
            }
            b"map" => list = Some(value),
            _ => {}
        }
    }
    if let Some(list) = list {
        let mut numbers = list.split(|c| *c == b',');
        while let Some(offset) = numbers.next() {
            let length = numbers.next().ok_or_else(|| bad("a map of odd length"))?;
            map.push(decimal(offset)?, decimal(length)?)?;
        }
    }
    if major == 0 {
        return map.checked(stored).map(|map| Some((map, 0)));
    }
    let taken = leading_map(&mut map, stored, stream)?;
    map.checked(stored - taken).map(|map| Some((map, taken)))
}

/// Form 1.0: decimal numbers, one a line, in whole blocks before the data.
fn leading_map<R: Read>(map: &mut Map, stored: u64, stream: &mut Stream<R>) -> Result<u64, Error> {
    let mut taken = 0u64;
    let mut text = Vec::new();
    let mut numbers = Vec::new();
    let mut wanted = None;
    while wanted.is_none_or(|wanted| numbers.len() < wanted) {
        let mut block = [0; BLOCK];
        taken += BLOCK as u64;
        if taken > stored {
            return Err(bad("its map reaches over its data"));
        }
        if stream.read_full(&mut block)? < BLOCK {
            return Err(truncated());
        }
        for byte in block {
            if wanted.is_some_and(|wanted| numbers.len() >= wanted) {
                break;
            }
            if byte != b'\n' {
                text.push(byte);
                continue;
            }
            let number = decimal(&text)?;
            text.clear();
            match wanted {
                Some(_) => numbers.push(number),
                None if number > MOST_PIECES as u64 => {
                    return Err(Error::new(Kind::Limit, "sparse file", "its map is too long"));
                }
                None => wanted = usize::try_from(number * 2).ok(),
            }
        }
        if text.len() > 24 {
            return Err(bad("a number of its map is too long"));
        }
    }
    for pair in numbers.chunks_exact(2) {
        map.push(pair[0], pair[1])?;
    }
    Ok(taken)
}
