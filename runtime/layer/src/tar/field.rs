//! Fields of a tar header block.

use super::BLOCK;
use crate::error::{Error, Kind};

/// A header block with a right checksum.
pub(crate) struct Header<'a>(&'a [u8; BLOCK]);

/// Which dialect the magic names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Before 1988: no magic.
    V7,
    /// POSIX, with a prefix of the name.
    Ustar,
    /// GNU, with its own use of the prefix.
    Gnu,
}

fn bad(what: &str) -> Error {
    Error::new(Kind::Format, "tar header", format!("{what} is not valid"))
}

/// Up to the first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    field.split(|c| *c == 0).next().unwrap_or(field)
}

/// An octal number, or the base-256 form of large ones.
pub(crate) fn number(field: &[u8], what: &str) -> Result<i64, Error> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field).ok_or_else(|| bad(what)),
        _ => octal(field).ok_or_else(|| bad(what)),
    }
}

fn octal(field: &[u8]) -> Option<i64> {
    let digits = field.split(|c| *c == 0).next()?.trim_ascii();
    digits.iter().try_fold(0i64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut sum: i128 = if negative { -1 } else { 0 };
    for (at, byte) in field.iter().enumerate() {
        let byte = match (at, negative) {
            (0, false) => byte & 0x7f,
            (0, true) => byte | 0x80,
            _ => *byte,
        };
        sum = sum.checked_mul(256)? + i128::from(byte);
        if !(i128::from(i64::MIN)..=i128::from(i64::MAX)).contains(&sum) {
            return None;
        }
    }
    i64::try_from(sum).ok()
}

impl<'a> Header<'a> {
    /// Verifies the checksum. `None` for a block of zeros, which ends an archive.
    pub(crate) fn parse(block: &'a [u8; BLOCK]) -> Result<Option<Header<'a>>, Error> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let want = number(&block[148..156], "the checksum")?;
        let counted = |byte: fn(u8) -> i64| -> i64 {
            let own = 8 * i64::from(b' ');
            let outside = block[..148].iter().chain(&block[156..]);
            own + outside.map(|b| byte(*b)).sum::<i64>()
        };
        // Some old programs add the bytes as signed ones.
        if want != counted(i64::from) && want != counted(|b| i64::from(b.cast_signed())) {
            return Err(Error::new(Kind::Format, "tar header", "wrong checksum"));
        }
        Ok(Some(Header(block)))
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match &self.0[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") => Dialect::Ustar,
            _ => Dialect::V7,
        }
    }

    pub(crate) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    /// Prefix and name, joined.
    pub(crate) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = text(&self.0[345..500]);
        if self.dialect() != Dialect::Ustar || prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(crate) fn mode(&self) -> Result<u32, Error> {
        let mode = number(&self.0[100..108], "the mode")?;
        u32::try_from(mode & 0o7777).map_err(|_| bad("the mode"))
    }

    pub(crate) fn uid(&self) -> Result<i64, Error> {
        number(&self.0[108..116], "the owner")
    }

    pub(crate) fn gid(&self) -> Result<i64, Error> {
        number(&self.0[116..124], "the group")
    }

    pub(crate) fn size(&self) -> Result<u64, Error> {
        u64::try_from(number(&self.0[124..136], "the size")?).map_err(|_| bad("the size"))
    }

    pub(crate) fn mtime(&self) -> Result<i64, Error> {
        number(&self.0[136..148], "the time")
    }

    /// Major and minor number of a device.
    pub(crate) fn device(&self) -> Result<(u32, u32), Error> {
        let part = |range: std::ops::Range<usize>| {
            u32::try_from(number(&self.0[range], "the device")?).map_err(|_| bad("the device"))
        };
        Ok((part(329..337)?, part(337..345)?))
    }

    /// The raw block, for the sparse map of GNU headers.
    pub(crate) fn block(&self) -> &'a [u8; BLOCK] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0", "x").unwrap(), 0o644);
        assert_eq!(number(b"   644 \0", "x").unwrap(), 0o644);
        assert_eq!(number(b"\0\0\0\0\0\0\0\0", "x").unwrap(), 0);
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0", "x").unwrap(), 256);
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe", "x").unwrap(), -2);
        assert!(number(b"0009\0", "x").is_err());
        assert!(number(b"-1\0", "x").is_err());
        let most = b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(number(most, "x").unwrap(), i64::MAX);
        assert!(number(b"\x80\0\0\0\x80\0\0\0\0\0\0\0", "x").is_err());
    }
}
