//! What is wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

/// What the fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A mistake, with the file that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The file, or the directory of drop-ins.
    pub file: PathBuf,
    /// What is wrong, with the line where it is known.
    pub cause: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.cause)
    }
}

impl std::error::Error for Error {}
