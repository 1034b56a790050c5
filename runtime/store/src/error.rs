//! What can go wrong in a store.

use crate::Digest;
use std::io;
use std::path::{Path, PathBuf};

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{}: cannot {what}: {source}", path.display())]
    Io {
        /// What was attempted, as in "cannot ...".
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("{}: in use by {holder}", root.display())]
    InUse {
        /// The store's directory.
        root: PathBuf,
        /// The process that holds it, by name and process ID.
        holder: String,
    },
    /// The database failed, and could not be repaired by opening or rebuilding it.
    #[error("{}: database: {cause}", path.display())]
    Database {
        /// The database's file.
        path: PathBuf,
        /// What the database said.
        cause: String,
    },
    /// The store has no such content.
    #[error("{digest}: no such content in the store")]
    NoBlob {
        /// The content asked for.
        digest: Digest,
    },
    /// Content on disk was not what its digest says; it has been dropped.
    #[error("{digest}: damaged on disk ({cause}); dropped, fetch it again")]
    Damaged {
        /// The content asked for.
        digest: Digest,
        /// How it differs.
        cause: String,
    },
    /// What was written does not have the expected digest.
    #[error("content has digest {found}, expected {expected}")]
    Mismatch {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// What was written is longer or shorter than announced.
    #[error("{digest}: content has {found} bytes, announced were {expected}")]
    Size {
        /// The content.
        digest: Digest,
        /// Bytes announced.
        expected: u64,
        /// Bytes that came, so far.
        found: u64,
    },
    /// Somebody else in this process is writing the same content.
    #[error("{digest}: is being written already")]
    Busy {
        /// The content.
        digest: Digest,
    },
    /// Content is too large to be read at once.
    #[error("{digest}: has {size} bytes, at most {limit} are read")]
    TooLarge {
        /// The content.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// There is no such image.
    #[error("{name}: no such image")]
    NoImage {
        /// As asked for.
        name: String,
    },
    /// A short ID fits several images.
    #[error("{id}: fits {} images: {}", matches.len(), listed(matches))]
    Ambiguous {
        /// The short ID.
        id: String,
        /// The images it fits.
        matches: Vec<Digest>,
    },
    /// There is no such lease.
    #[error("{id}: no such lease")]
    NoLease {
        /// The lease's ID.
        id: String,
    },
}

impl Error {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { what, path: path.to_owned(), source }
    }

    /// Whether the disk has no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

fn listed(matches: &[Digest]) -> String {
    let mut text: Vec<&str> = matches.iter().take(5).map(Digest::as_str).collect();
    if matches.len() > text.len() {
        text.push("...");
    }
    text.join(", ")
}
