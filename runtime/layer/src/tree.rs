//! Listing directories.

use crate::error::Error;
use rustix::fs::{Dir, FileType};
use std::os::fd::BorrowedFd;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Its bytes.
    pub name: Vec<u8>,
    /// Whether it is a directory; `None` when the file system does not say.
    pub directory: Option<bool>,
}

/// What the directory at `fd` holds, sorted by name, without `.` and `..`.
///
/// # Errors
/// [`Kind::Io`](crate::Kind::Io) with `subject` when it cannot be read.
pub fn entries(fd: BorrowedFd<'_>, subject: &str) -> Result<Vec<DirEntry>, Error> {
    let mut found = Vec::new();
    first_entries(fd, subject, usize::MAX, &mut found)?;
    found.sort();
    Ok(found)
}

/// As [`entries`], but at most `most` of them in the order of the file system.
pub(crate) fn first_entries(
    fd: BorrowedFd<'_>,
    subject: &str,
    most: usize,
    found: &mut Vec<DirEntry>,
) -> Result<(), Error> {
    let failed = |e| Error::io(subject, "read the directory", e);
    for entry in Dir::read_from(fd).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let directory = match entry.file_type() {
            FileType::Unknown => None,
            kind => Some(kind == FileType::Directory),
        };
        found.push(DirEntry { name: name.to_vec(), directory });
        if found.len() >= most {
            break;
        }
    }
    Ok(())
}
