//! The tar format as layers use it: ustar, GNU and pax, read and written here.
//!
//! A parser of its own, because the size of an entry, the place of its data and the limits must
//! come from one piece of code: differences between them were holes in others.

mod field;
mod pax;
mod reader;
mod sparse;
mod stream;
mod writer;

pub(crate) use reader::{Archive, Entry, EntryKind};
pub(crate) use stream::Stream;
pub(crate) use writer::{Member, Writer};

/// Bytes of a header, and the unit that data is padded to.
pub(crate) const BLOCK: usize = 512;

/// A time with nanoseconds, since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}
