//! Layers of images as streams: decompressed, verified, unpacked, packed.
//!
//! [`unpack`] hashes, decompresses, hashes again and writes in one pass. What it reads is hostile
//! until the digests at its end match: nothing is written outside of the target directory, memory
//! and disk are bounded by [`Limits`], and the caller removes the target with [`remove_tree`] when
//! an error comes back. [`pack`] is the reverse: the upper directory of an overlay to a layer.
//!
//! Everything here blocks; run it on a thread that may.

mod chunks;
mod compression;
mod error;
mod limits;
mod owner;
mod pack;
mod path;
mod remove;
mod tar;
mod tree;
mod unpack;
mod usage;
mod walk;
mod xattr;

pub use chunks::Chunks;
pub use compression::Compression;
pub use content_digest::{Digest, DigestError, Hasher};
pub use error::{Error, Kind};
pub use limits::Limits;
pub use owner::{IdRange, Owner};
pub use pack::{PackOptions, Packed, pack};
pub use path::RelativePath;
pub use remove::remove_tree;
pub use tree::{DirEntry, entries};
pub use unpack::{Devices, Expect, Options, Report, Whiteouts, unpack};
pub use usage::{Usage, usage};
pub use walk::{Found, Walk};
pub use xattr::{Xattrs, read_xattrs};

/// Prefix of the names that stand for something removed from a lower layer.
pub const WHITEOUT_PREFIX: &str = ".wh.";
/// Name of the file that hides everything lower layers have in its directory.
pub const OPAQUE_MARKER: &str = ".wh..wh..opq";
