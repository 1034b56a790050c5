//! Standard streams of a process, where they are not its maker's own.

use crate::sync::{At, Fault, Step};
use crate::{Error, Result, sys};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

/// Descriptors that become the standard streams of a process. Clones are the same descriptors.
#[derive(Clone, Debug)]
pub struct Streams([Arc<OwnedFd>; 3]);

impl Streams {
    /// Input, output and errors.
    ///
    /// # Errors
    /// There is no room for a descriptor.
    pub fn new(stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> Result<Streams> {
        let out_of_the_way = |fd: OwnedFd| {
            // One of the first three would be closed when another takes its place.
            if fd.as_raw_fd() > 2 {
                return Ok(Arc::new(fd));
            }
            let moved = rustix::io::fcntl_dupfd_cloexec(&fd, 3);
            moved.map(Arc::new).map_err(|errno| Error::errno("standard streams", "dup", errno))
        };
        Ok(Streams([out_of_the_way(stdin)?, out_of_the_way(stdout)?, out_of_the_way(stderr)?]))
    }

    /// Copies, for another program.
    ///
    /// # Errors
    /// There is no room for a descriptor.
    pub fn try_clone(&self) -> Result<[OwnedFd; 3]> {
        let [stdin, stdout, stderr] = &self.0;
        let dup = |fd: &OwnedFd| {
            let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3);
            copy.map_err(|errno| Error::errno("standard streams", "dup", errno))
        };
        Ok([dup(stdin)?, dup(stdout)?, dup(stderr)?])
    }

    /// In the process itself. Allocates nothing.
    pub(crate) fn take(&self) -> std::result::Result<(), Fault> {
        self.0.iter().zip(0..).try_for_each(|(fd, number)| {
            sys::place(fd.as_fd(), number).nth(Step::Streams, number as usize)
        })
    }
}
