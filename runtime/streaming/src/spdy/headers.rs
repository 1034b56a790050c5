//! Header blocks (SPDY/3.1, section 2.6.10): names and values, compressed as one stream for a whole
//! connection, with a dictionary.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What both sides know before the first block (section 2.6.10.1).
const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");

/// A block takes no more than this when it is decompressed.
const MAX_BLOCK: usize = 16 << 10;

/// Headers of a block.
const MAX_HEADERS: u32 = 64;

/// Names and values of a block; names are in lower case.
pub type Headers = Vec<(String, String)>;

/// Reads the blocks of a connection.
#[derive(Debug)]
pub struct Unpacker(Decompress);

impl Default for Unpacker {
    fn default() -> Unpacker {
        Unpacker(Decompress::new(true))
    }
}

impl Unpacker {
    /// Decompresses a block and reads it. After an error no later block can be read.
    ///
    /// # Errors
    /// The block is no block, or of an excessive size.
    pub fn read(&mut self, block: &[u8]) -> Result<Headers, &'static str> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut plain = Vec::with_capacity(MAX_BLOCK + 1);
        let mut rest = block;
        loop {
            let (before, room) = (self.0.total_in(), plain.len());
            let step = self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync);
            let used = usize::try_from(self.0.total_in() - before).unwrap_or(rest.len());
            rest = rest.get(used..).unwrap_or_default();
            if plain.len() > MAX_BLOCK {
                return Err("headers take more than 16 KiB");
            }
            match step {
                Ok(Status::StreamEnd) => return Err("the stream of headers has an end"),
                Ok(_) if rest.is_empty() => return Ok(plain),
                Ok(_) if used == 0 && plain.len() == room => return Err("headers are cut short"),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0
                        .set_dictionary(DICTIONARY)
                        .map_err(|_| "headers are compressed with another dictionary")?;
                }
                Err(_) => return Err("headers cannot be decompressed"),
            }
        }
    }
}

/// Reads a block that is decompressed.
///
/// # Errors
/// It is cut short, or has too many headers.
pub fn parse(mut block: &[u8]) -> Result<Headers, &'static str> {
    let count = number(&mut block)?;
    if count > MAX_HEADERS {
        return Err("there are more than 64 headers");
    }
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = text(&mut block)?.to_ascii_lowercase();
        headers.push((name, text(&mut block)?));
    }
    Ok(headers)
}

fn number(block: &mut &[u8]) -> Result<u32, &'static str> {
    let (bytes, rest) = block.split_first_chunk().ok_or("headers are cut short")?;
    *block = rest;
    Ok(u32::from_be_bytes(*bytes))
}

fn text(block: &mut &[u8]) -> Result<String, &'static str> {
    let length = number(block)? as usize;
    let (bytes, rest) = block.split_at_checked(length).ok_or("headers are cut short")?;
    *block = rest;
    String::from_utf8(bytes.to_vec()).map_err(|_| "a header is no text")
}

/// Writes the blocks of a connection.
#[derive(Debug, Default)]
pub struct Packer(Option<Compress>);

impl Packer {
    /// Compresses a block of `headers`; the blocks must be sent in this order.
    ///
    /// # Errors
    /// The compressor fails.
    pub fn write(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>, &'static str> {
        let mut plain = Vec::new();
        plain.extend_from_slice(&(headers.len() as u32).to_be_bytes());
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        let compress = match &mut self.0 {
            Some(compress) => compress,
            none => {
                let mut new = Compress::new(Compression::fast(), true);
                new.set_dictionary(DICTIONARY).map_err(|_| "the dictionary is refused")?;
                none.insert(new)
            }
        };
        let before = compress.total_in();
        // A block of so few headers grows by far less than this when it does not shrink.
        let mut packed = Vec::with_capacity(plain.len() + 256);
        compress
            .compress_vec(&plain, &mut packed, FlushCompress::Sync)
            .map_err(|_| "headers cannot be compressed")?;
        if compress.total_in() - before != plain.len() as u64 || packed.len() == packed.capacity() {
            return Err("headers do not fit where they are compressed to");
        }
        Ok(packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_both_ways_one_after_another() {
        let (mut packer, mut unpacker) = (Packer::default(), Unpacker::default());
        for round in 0..20 {
            let id = round.to_string();
            let sent = [("streamType", "data"), ("port", "80"), ("requestid", id.as_str())];
            let packed = packer.write(&sent).unwrap();
            let read = unpacker.read(&packed).unwrap();
            assert_eq!(read[0], ("streamtype".to_owned(), "data".to_owned()));
            assert_eq!(read[2], ("requestid".to_owned(), id));
        }
        let empty = packer.write(&[]).unwrap();
        assert_eq!(unpacker.read(&empty).unwrap(), []);
    }

    #[test]
    fn the_dictionary_is_the_one_of_the_specification() {
        assert_eq!(DICTIONARY.len(), 1423);
        let mut compress = Compress::new(Compression::fast(), true);
        // The checksum that zlib streams of SPDY/3 begin with.
        assert_eq!(compress.set_dictionary(DICTIONARY).unwrap(), 0xE3C6_A7C2);
    }

    #[test]
    fn a_header_bomb_is_refused() {
        let huge = "a".repeat(1 << 20);
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(DICTIONARY).unwrap();
        let mut packed = Vec::with_capacity(1 << 16);
        compress.compress_vec(huge.as_bytes(), &mut packed, FlushCompress::Sync).unwrap();
        assert!(packed.len() < 4096, "{} bytes are no bomb", packed.len());
        assert_eq!(Unpacker::default().read(&packed), Err("headers take more than 16 KiB"));
    }

    #[test]
    fn blocks_that_are_none_are_refused() {
        assert!(Unpacker::default().read(b"").is_err());
        assert!(Unpacker::default().read(b"not compressed").is_err());
        assert!(parse(&[0, 0, 0, 1, 0, 0, 0, 9, b'a']).is_err());
        assert!(parse(&[0xFF; 8]).is_err());
        assert!(parse(&[0, 0, 0, 1, 0, 0, 0, 1, 0xFF, 0, 0, 0, 0]).is_err());
    }
}
