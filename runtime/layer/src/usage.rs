//! Disk usage.

use crate::error::Error;
use crate::walk::Walk;
use rustix::fs::{FileType, Stat, fstat};
use std::collections::HashSet;
use std::os::fd::BorrowedFd;

/// Disk space in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of whole disk blocks; each file once, however many links it has.
    pub bytes: u64,
    /// Files, directories, links and devices.
    pub inodes: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

/// Walks the tree at `dir`, itself included, and sums what it uses. Files that vanish meanwhile do
/// not count; other file systems mounted within neither.
///
/// # Errors
/// [`Kind::Io`](crate::Kind::Io) when a directory cannot be read.
pub fn usage(dir: BorrowedFd<'_>) -> Result<Usage, Error> {
    let own = fstat(dir).map_err(|e| Error::io(".", "stat", e))?;
    let mut sum = Usage { bytes: blocks(&own), inodes: 1 };
    let mut linked = HashSet::new();
    let mut walk = Walk::new(dir)?;
    while let Some(found) = walk.advance()? {
        let stat = &found.stat;
        let several = found.file_type != FileType::Directory && stat.st_nlink > 1;
        if stat.st_dev != own.st_dev || several && !linked.insert(stat.st_ino) {
            continue;
        }
        sum += Usage { bytes: blocks(stat), inodes: 1 };
    }
    Ok(sum)
}

fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}
