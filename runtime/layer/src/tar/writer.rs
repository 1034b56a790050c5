//! Writing tar streams: ustar headers, with pax records for what does not fit.

use super::{BLOCK, EntryKind, Time};
use crate::error::{Error, Kind, shown};
use std::io::{self, Read, Write};

/// What a header says.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    /// Path from the root; directories get their `/` here.
    pub(crate) name: &'a [u8],
    pub(crate) kind: &'a EntryKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) size: u64,
    pub(crate) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// A tar stream being written.
pub(crate) struct Writer<W> {
    out: W,
}

fn failed(e: io::Error) -> Error {
    Error::io("archive", "write", e)
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W) -> Writer<W> {
        Writer { out }
    }

    /// Writes a header, and before it the records that it has no room for.
    pub(crate) fn header(&mut self, member: &Member<'_>) -> Result<(), Error> {
        let mut records = Vec::new();
        let block = header(member, &mut records);
        if !records.is_empty() {
            let pax = Member {
                name: b"PaxHeaders.0/entry",
                kind: &EntryKind::File,
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: Time::default(),
                size: records.len() as u64,
                xattrs: &[],
            };
            let mut head = header(&pax, &mut Vec::new());
            head[156] = b'x';
            checksum(&mut head);
            self.out.write_all(&head).map_err(failed)?;
            self.out.write_all(&records).map_err(failed)?;
            self.pad(records.len() as u64)?;
        }
        self.out.write_all(&block).map_err(failed)
    }

    /// Writes the data of a member: exactly `size` bytes of `from`.
    pub(crate) fn data(
        &mut self,
        name: &[u8],
        from: impl Read,
        size: u64,
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        let mut from = from.take(size);
        let mut written = 0;
        loop {
            let count = match from.read(buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io(shown(name), "read", e)),
            };
            self.out.write_all(&buffer[..count]).map_err(failed)?;
            written += count as u64;
        }
        if written != size {
            return Err(Error::new(Kind::Io, shown(name), "it shrank while it was packed"));
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        self.out.write_all(&[0; BLOCK][..padding]).map_err(failed)
    }

    /// Ends the archive and gives back what it was written to.
    pub(crate) fn finish(mut self) -> Result<W, Error> {
        self.out.write_all(&[0; 2 * BLOCK]).map_err(failed)?;
        Ok(self.out)
    }
}

fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let bare = key.len() + value.len() + 3;
    // The length counts its own digits.
    let mut length = bare + 1;
    while bare + length.to_string().len() != length {
        length = bare + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Octal digits and a NUL; false when the number does not fit.
fn octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let fits = value < 1 << (3 * digits);
    let text = format!("{:0digits$o}", if fits { value } else { 0 });
    field[..digits].copy_from_slice(text.as_bytes());
    fits
}

fn text(field: &mut [u8], value: &[u8]) -> bool {
    let count = value.len().min(field.len());
    field[..count].copy_from_slice(&value[..count]);
    value.len() <= field.len()
}

fn header(member: &Member<'_>, records: &mut Vec<u8>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    if !text(&mut block[..100], member.name) {
        record(records, b"path", member.name);
    }
    octal(&mut block[100..108], u64::from(member.mode));
    if !octal(&mut block[108..116], u64::from(member.uid)) {
        record(records, b"uid", member.uid.to_string().as_bytes());
    }
    if !octal(&mut block[116..124], u64::from(member.gid)) {
        record(records, b"gid", member.gid.to_string().as_bytes());
    }
    if !octal(&mut block[124..136], member.size) {
        record(records, b"size", member.size.to_string().as_bytes());
    }
    let whole = u64::try_from(member.mtime.seconds).unwrap_or(u64::MAX);
    if !octal(&mut block[136..148], whole) || member.mtime.nanoseconds > 0 {
        record(records, b"mtime", decimal(member.mtime).as_bytes());
    }
    let (flag, link, device): (u8, &[u8], _) = match member.kind {
        EntryKind::File => (b'0', b"", None),
        EntryKind::HardLink(to) => (b'1', to, None),
        EntryKind::Symlink(to) => (b'2', to, None),
        EntryKind::Character(major, minor) => (b'3', b"", Some((*major, *minor))),
        EntryKind::Block(major, minor) => (b'4', b"", Some((*major, *minor))),
        EntryKind::Directory => (b'5', b"", None),
        EntryKind::Fifo => (b'6', b"", None),
    };
    block[156] = flag;
    if !text(&mut block[157..257], link) {
        record(records, b"linkpath", link);
    }
    block[257..265].copy_from_slice(b"ustar\x0000");
    if let Some((major, minor)) = device {
        octal(&mut block[329..337], u64::from(major));
        octal(&mut block[337..345], u64::from(minor));
    }
    for (name, value) in member.xattrs {
        record(records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    checksum(&mut block);
    block
}

fn decimal(time: Time) -> String {
    if time.seconds < 0 && time.nanoseconds > 0 {
        let rest = 1_000_000_000 - time.nanoseconds;
        // Written as "-" and the magnitude, so that -0.25 keeps its sign.
        return format!("-{}.{rest:09}", (time.seconds + 1).unsigned_abs());
    }
    match time.nanoseconds {
        0 => time.seconds.to_string(),
        nanoseconds => format!("{}.{nanoseconds:09}", time.seconds),
    }
}

fn checksum(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
}
