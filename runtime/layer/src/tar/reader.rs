//! Entries of a tar stream, one after the other.

use super::field::Header;
use super::pax::Extended;
use super::sparse::{self, Map};
use super::stream::{Stream, truncated};
use super::{BLOCK, Time};
use crate::error::{Error, Kind, shown};
use crate::limits::Limits;
use std::io::Read;

/// What an entry makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    /// With the text it holds.
    Symlink(Vec<u8>),
    /// With the name it links to.
    HardLink(Vec<u8>),
    /// Major and minor number.
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// An entry without its data.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of data in the stream.
    pub(crate) stored: u64,
    /// For a sparse file.
    pub(crate) sparse: Option<Map>,
}

/// A tar stream being read.
pub(crate) struct Archive<R: Read> {
    stream: Stream<R>,
    /// Data of the current entry that was not read yet.
    left: u64,
    /// What fills its last block.
    padding: u64,
    header_bytes: u64,
    entries: u64,
    most_entries: u64,
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// An id that is not one (negative, or `u32::MAX`, which the kernel reads as "leave it") is
/// refused, never cut: a cut id could become root's.
fn id(value: i64, name: &[u8]) -> Result<u32, Error> {
    u32::try_from(value).ok().filter(|id| *id != u32::MAX).ok_or_else(|| {
        Error::new(Kind::Format, shown(name), format!("{value} is not a user or group id"))
    })
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(stream: Stream<R>, limits: &Limits) -> Archive<R> {
        Archive {
            stream,
            left: 0,
            padding: 0,
            header_bytes: limits.header_bytes,
            entries: 0,
            most_entries: limits.entries,
        }
    }

    /// After the last entry: reads the rest of the stream.
    pub(crate) fn drain(&mut self) -> Result<(), Error> {
        self.stream.drain()
    }

    /// The stream, after the last entry or an error.
    pub(crate) fn into_stream(self) -> Stream<R> {
        self.stream
    }

    /// The next entry. What is left of the current one's data is passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.stream.skip(self.left)?;
        self.skip_padding()?;
        self.left = 0;
        let mut extended = Extended::default();
        let mut extra = 0u64;
        loop {
            let Some(block) = self.block()? else {
                return match extra {
                    0 => Ok(None),
                    _ => Err(truncated()),
                };
            };
            let Some(header) = Header::parse(&block)? else {
                self.end_of_archive()?;
                return match extra {
                    0 => Ok(None),
                    _ => Err(truncated()),
                };
            };
            let what = header.type_flag();
            if !matches!(what, b'x' | b'g' | b'L' | b'K' | b'X') {
                return self.entry(&header, extended).map(Some);
            }
            // A size in an extended header is the entry's, never that of a header between.
            let size = header.size()?;
            extra = extra.saturating_add(size).saturating_add(BLOCK as u64);
            if extra > self.header_bytes {
                let detail = format!("its headers have more than {} bytes", self.header_bytes);
                return Err(Error::new(Kind::Limit, shown(&header.name()), detail));
            }
            let data = self.small(size)?;
            match what {
                b'x' | b'X' => extended.read(&data)?,
                b'L' => extended.path = Some(super::field::text(&data).to_vec()),
                b'K' => extended.link = Some(super::field::text(&data).to_vec()),
                // Global headers hold comments (git's commit id): no consumer of layers applies them.
                _ => {}
            }
        }
    }

    /// Blocks of zeros are read as the end only when two of them come, or the stream ends.
    fn end_of_archive(&mut self) -> Result<(), Error> {
        match self.block()? {
            Some(block) if block.iter().any(|byte| *byte != 0) => {
                Err(Error::new(Kind::Format, "tar", "a lone block of zeros between entries"))
            }
            _ => Ok(()),
        }
    }

    /// A header block; `None` at the end of the stream.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        match self.stream.read_full(&mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(truncated()),
        }
    }

    /// The data of an extended header.
    fn small(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut data = vec![0; usize::try_from(size).map_err(|_| truncated())?];
        if self.stream.read_full(&mut data)? < data.len() {
            return Err(truncated());
        }
        self.stream.skip(padding(size))?;
        Ok(data)
    }

    fn skip_padding(&mut self) -> Result<(), Error> {
        let mut rest = [0; BLOCK];
        let padding = usize::try_from(self.padding).unwrap_or(0);
        self.padding = 0;
        match self.stream.read_full(&mut rest[..padding])? {
            // Some writers leave out what fills the last block of the last entry.
            0 => Ok(()),
            count if count == padding => Ok(()),
            _ => Err(truncated()),
        }
    }

    fn entry(&mut self, header: &Header<'_>, mut extended: Extended) -> Result<Entry, Error> {
        self.entries += 1;
        if self.entries > self.most_entries {
            let detail = format!("more than {} entries", self.most_entries);
            return Err(Error::new(Kind::Limit, "layer", detail));
        }
        let own_name = header.name();
        let link = extended.link.take().unwrap_or_else(|| header.link());
        let directory_name = extended.path.as_ref().unwrap_or(&own_name).ends_with(b"/");
        let (kind, has_data) = match header.type_flag() {
            b'0' | 0 | b'7' if directory_name => (EntryKind::Directory, false),
            b'0' | 0 | b'7' | b'S' => (EntryKind::File, true),
            b'1' => (EntryKind::HardLink(link), false),
            b'2' => (EntryKind::Symlink(link), false),
            b'3' => (device(header, EntryKind::Character)?, false),
            b'4' => (device(header, EntryKind::Block)?, false),
            b'5' => (EntryKind::Directory, false),
            b'6' => (EntryKind::Fifo, false),
            other => {
                let detail = format!("entries of type {:?} are unknown", char::from(other));
                return Err(Error::new(Kind::Unsupported, shown(&own_name), detail));
            }
        };
        let size = if has_data { extended.size.map_or_else(|| header.size(), Ok)? } else { 0 };
        self.left = size;
        self.padding = padding(size);
        let sparse = match (header.type_flag(), &kind) {
            (b'S', _) => Some(sparse::old_gnu(header, size, &mut self.stream)?),
            (_, EntryKind::File) => {
                sparse::pax(&mut extended, size, &mut self.stream)?.map(|(map, taken)| {
                    self.left -= taken;
                    map
                })
            }
            _ => None,
        };
        let name = extended.path.unwrap_or(own_name);
        Ok(Entry {
            mode: header.mode()?,
            uid: id(extended.uid.map_or_else(|| header.uid(), Ok)?, &name)?,
            gid: id(extended.gid.map_or_else(|| header.gid(), Ok)?, &name)?,
            mtime: match extended.mtime {
                Some(time) => time,
                None => Time { seconds: header.mtime()?, nanoseconds: 0 },
            },
            xattrs: extended.xattrs,
            stored: self.left,
            sparse,
            kind,
            name,
        })
    }

    /// Some of the current entry's data, at most `most` bytes; `None` after its last byte.
    pub(crate) fn data(&mut self, most: u64) -> Result<Option<&[u8]>, Error> {
        let most = most.min(self.left);
        if most == 0 {
            return Ok(None);
        }
        let chunk = self.stream.fill()?;
        if chunk.is_empty() {
            return Err(truncated());
        }
        let count = chunk.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(Some(&chunk[..count]))
    }

    /// Takes `count` bytes of what [`Archive::data`] gave.
    pub(crate) fn consume(&mut self, count: usize) {
        self.left -= count as u64;
        self.stream.consume(count);
    }
}

fn device(header: &Header<'_>, kind: impl Fn(u32, u32) -> EntryKind) -> Result<EntryKind, Error> {
    let (major, minor) = header.device()?;
    Ok(kind(major, minor))
}
