//! Extended headers (POSIX pax).

use super::Time;
use crate::error::{Error, Kind, shown};

/// What extended headers say about the entry that follows them. Later ones win.
#[derive(Debug, Default)]
pub(crate) struct Extended {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<i64>,
    pub(crate) gid: Option<i64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// `GNU.sparse.*` records in their order, without the prefix.
    pub(crate) sparse: Vec<(Vec<u8>, Vec<u8>)>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

fn bad(detail: &str) -> Error {
    Error::new(Kind::Format, "extended header", detail)
}

impl Extended {
    /// Adds the records of one extended header.
    pub(crate) fn read(&mut self, mut data: &[u8]) -> Result<(), Error> {
        while !data.is_empty() {
            let (record, rest) = record(data)?;
            let equals = record.iter().position(|c| *c == b'=').ok_or_else(|| bad("no '='"))?;
            self.set(&record[..equals], &record[equals + 1..])?;
            data = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(signed(value)?),
            b"gid" => self.gid = Some(signed(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            _ => {
                if let Some(attribute) = key.strip_prefix(XATTR) {
                    self.xattrs.retain(|(known, _)| known != attribute);
                    self.xattrs.push((name(attribute)?, value.to_vec()));
                } else if let Some(what) = key.strip_prefix(SPARSE) {
                    self.sparse.push((what.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts all of it.
fn record(data: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let space = data.iter().take(20).position(|c| *c == b' ').ok_or_else(|| bad("no length"))?;
    let length = usize::try_from(decimal(&data[..space])?).map_err(|_| bad("too long"))?;
    if length <= space + 1 || length > data.len() {
        return Err(bad("the length of a record does not fit"));
    }
    match data[space + 1..length].split_last() {
        Some((b'\n', record)) => Ok((record, &data[length..])),
        _ => Err(bad("a record does not end with a new line")),
    }
}

fn name(value: &[u8]) -> Result<Vec<u8>, Error> {
    if value.is_empty() || value.contains(&0) {
        return Err(bad("an empty name, or a NUL in one"));
    }
    Ok(value.to_vec())
}

/// A number without a sign.
pub(crate) fn decimal(value: &[u8]) -> Result<u64, Error> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| bad(&format!("{}: not a number", shown(value))))
}

fn signed(value: &[u8]) -> Result<i64, Error> {
    let (minus, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let number = i64::try_from(decimal(digits)?).map_err(|_| bad("a number is out of range"))?;
    Ok(if minus { -number } else { number })
}

/// Seconds with an optional fraction; digits beyond nanoseconds are cut.
fn time(value: &[u8]) -> Result<Time, Error> {
    let mut parts = value.splitn(2, |c| *c == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad("the fraction of a time is not a number"));
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let seconds = signed(whole)?;
    if whole.starts_with(b"-") && nanoseconds > 0 {
        // -1.25 is 750 million nanoseconds after -2.
        let seconds = seconds.checked_sub(1).ok_or_else(|| bad("a time is out of range"))?;
        return Ok(Time { seconds, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Ok(Time { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let mut extended = Extended::default();
        extended.read(b"12 path=abc\n20 mtime=-1.2500000\n").unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"abc"[..]));
        assert_eq!(extended.mtime, Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        for broken in [
            &b"12 path=abc"[..],
            b"13 path=abc\n",
            b"2 a=b\n",
            b"x",
            b"0 ",
            b"9999999999 a=b\n",
            b"12 path=a\0c\n",
            b"8 path=\n",
            b"8 size=\n",
            b"11 size=-1\n",
            b"5 abc\n",
        ] {
            assert!(Extended::default().read(broken).is_err(), "{}", shown(broken));
        }
    }
}
