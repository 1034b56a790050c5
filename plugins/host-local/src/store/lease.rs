//! Lease files: `<dataDir>/<network>/<address>` holding `<container id>\r\n<interface>`.
//!
//! The format is that of the reference plugin, including its oldest form of the id alone.

use super::fault;
use crate::hash::Hash;
use crate::range::{Bits, address, bits};
use cni_types::{Attachment, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use std::fs::File;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A lease in the making, where the file system has no nameless files; a leftover is one of a
/// process that was killed.
pub(super) const UNFINISHED: &str = ".podloom-new-lease";

/// More than any lease; the rest of a longer file does not matter.
const LEASE_MAX: u64 = 1024;

const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Whether a file got its name.
type Made = Result<(), Errno>;

/// Who holds a lease, in the words of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner(Vec<u8>);

impl Owner {
    /// The owner of leases of an attachment.
    pub(crate) fn new(container: &str, ifname: &str) -> Owner {
        Owner(format!("{container}\r\n{ifname}").into_bytes())
    }

    /// The owner of the oldest form: a container with whatever interface.
    pub(crate) fn container(container: &str) -> Owner {
        Owner(container.as_bytes().to_vec())
    }

    /// Both ways in which leases of an attachment may be written, the current one first.
    pub(crate) fn forms(attachment: &Attachment) -> [Owner; 2] {
        let container = &attachment.container_id;
        [Owner::new(container, &attachment.ifname), Owner::container(container)]
    }

    /// The owner's hash, as the index stores it.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = Hash::new();
        hash.feed(&self.0);
        hash.value()
    }

    /// The owner for a person to read.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.0).replace("\r\n", "/").escape_debug().to_string()
    }
}

/// What stands at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// A lease, and when it changed last, in nanoseconds since 1970.
    Lease(Owner, i64),
    /// A file that never was a lease or no longer is: empty, or with the zeros that a power cut
    /// leaves. The writer is gone, as it would hold the lock.
    Torn,
    /// A directory, link or device: nobody's lease, but the name is taken.
    Foreign,
}

/// The directory of one network's leases.
#[derive(Debug)]
pub(crate) struct LeaseDir {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
}

impl LeaseDir {
    fn shown(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Status of a name, without following a link.
    pub(super) fn stat(&self, name: &str) -> Result<Option<FileStat>> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(fault(&self.shown(name), errno)),
        }
    }

    /// Reads what stands at `ip`.
    pub(crate) fn read(&self, ip: Bits) -> Result<Found> {
        let name = name(ip);
        match self.stat(&name)? {
            None => Ok(Found::Nothing),
            Some(stat) if !is_file(&stat) => Ok(Found::Foreign),
            Some(_) => self.read_file(&name),
        }
    }

    /// Reads a regular file as a lease.
    pub(super) fn read_file(&self, name: &str) -> Result<Found> {
        // Without O_NONBLOCK a pipe put there in this moment would hold up the plugin.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(Found::Nothing),
            Err(Errno::ELOOP | Errno::ENXIO) => return Ok(Found::Foreign),
            Err(errno) => return Err(fault(&self.shown(name), errno)),
        };
        let stat = fstat(&fd).map_err(|e| fault(&self.shown(name), e))?;
        if !is_file(&stat) {
            return Ok(Found::Foreign);
        }
        let mut text = Vec::with_capacity(64);
        File::from(fd)
            .take(LEASE_MAX)
            .read_to_end(&mut text)
            .map_err(|e| cni_types::Error::io(self.shown(name).display(), &e))?;
        let text = text.trim_ascii();
        if text.is_empty() || text.contains(&0) {
            return Ok(Found::Torn);
        }
        Ok(Found::Lease(Owner(text.to_vec()), changed(&stat)))
    }

    /// Makes the lease of `ip`, all of it or nothing. Gives the time of its last change, or
    /// `None` if the name is taken.
    pub(crate) fn create(&self, ip: Bits, owner: &Owner) -> Result<Option<i64>> {
        let lease = name(ip);
        let (made, outcome) = match self.link_nameless(&lease, &owner.0)? {
            Some(done) => done,
            None => self.rename_unfinished(&lease, &owner.0)?,
        };
        match outcome {
            Ok(()) => {
                let stat = fstat(&made).map_err(|e| fault(&self.shown(&lease), e))?;
                Ok(Some(changed(&stat)))
            }
            Err(Errno::EEXIST) => Ok(None),
            Err(errno) => Err(fault(&self.shown(&lease), errno)),
        }
    }

    /// A file gets its name when it is written. `None` where the file system has no nameless
    /// files, or /proc is missing.
    fn link_nameless(&self, lease: &str, text: &[u8]) -> Result<Option<(File, Made)>> {
        let flags = OFlag::O_WRONLY | OFlag::O_TMPFILE | OFlag::O_CLOEXEC;
        let Ok(fd) = openat(&self.fd, ".", flags, MODE) else { return Ok(None) };
        let mut file = File::from(fd);
        file.write_all(text).map_err(|e| self.unwritten(lease, &e))?;
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        match linkat(AT_FDCWD, &*source, &self.fd, lease, AtFlags::AT_SYMLINK_FOLLOW) {
            Err(Errno::ENOENT | Errno::EXDEV | Errno::EPERM | Errno::EOPNOTSUPP) => Ok(None),
            outcome => Ok(Some((file, outcome))),
        }
    }

    /// A file gets its proper name when it is written.
    fn rename_unfinished(&self, lease: &str, text: &[u8]) -> Result<(File, Made)> {
        let made = self.write_unfinished(text)?;
        let flags = RenameFlags::RENAME_NOREPLACE;
        let outcome = match renameat2(&self.fd, UNFINISHED, &self.fd, lease, flags) {
            Ok(()) => return Ok((made, Ok(()))),
            // File systems without that flag can link, which does not replace either.
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                linkat(&self.fd, UNFINISHED, &self.fd, lease, AtFlags::empty())
            }
            Err(errno) => Err(errno),
        };
        self.unlink(UNFINISHED)?;
        Ok((made, outcome))
    }

    fn write_unfinished(&self, text: &[u8]) -> Result<File> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut opened = openat(&self.fd, UNFINISHED, flags, MODE);
        if matches!(opened, Err(Errno::EEXIST)) {
            self.unlink(UNFINISHED)?;
            opened = openat(&self.fd, UNFINISHED, flags, MODE);
        }
        let mut file = File::from(opened.map_err(|e| fault(&self.shown(UNFINISHED), e))?);
        match file.write_all(text) {
            Ok(()) => Ok(file),
            Err(cause) => {
                self.unlink(UNFINISHED)?;
                Err(self.unwritten(UNFINISHED, &cause))
            }
        }
    }

    fn unwritten(&self, name: &str, cause: &std::io::Error) -> cni_types::Error {
        cni_types::Error::io(self.shown(name).display(), cause)
            .with_details("the file system of dataDir must have room for a small file")
    }

    /// Removes the lease of `ip`, or does nothing if there is none.
    pub(crate) fn remove(&self, ip: Bits) -> Result<()> {
        self.unlink(&name(ip))
    }

    pub(super) fn unlink(&self, name: &str) -> Result<()> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(fault(&self.shown(name), errno)),
        }
    }

    /// The address in `last_reserved_ip.<set>`, if there is a sensible one. It only says where to
    /// go on, so anything else in its place is as good as nothing.
    pub(crate) fn last_reserved(&self, set: usize) -> Option<Bits> {
        let name = format!("last_reserved_ip.{set}");
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.fd, &*name, flags, Mode::empty()).ok()?);
        let mut text = String::new();
        file.take(LEASE_MAX).read_to_string(&mut text).ok()?;
        text.parse::<IpAddr>().ok().map(bits)
    }

    /// Writes `last_reserved_ip.<set>`.
    pub(crate) fn set_last_reserved(&self, set: usize, ip: Bits) -> Result<()> {
        let name = format!("last_reserved_ip.{set}");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, &*name, flags, MODE).map_err(|e| fault(&self.shown(&name), e))?;
        let (mut file, text) = (File::from(fd), address(ip).to_string());
        // Overwriting is cheaper than truncating first: the disk block stays.
        file.write_all(text.as_bytes())
            .and_then(|()| match file.metadata()?.len() == text.len() as u64 {
                true => Ok(()),
                false => file.set_len(text.len() as u64),
            })
            .map_err(|e| cni_types::Error::io(self.shown(&name).display(), &e))
    }
}

/// The file name of an address.
pub(crate) fn name(ip: Bits) -> String {
    address(ip).to_string()
}

/// The address that a file name stands for; only in the form in which it is written.
pub(super) fn named(file: &Path) -> Option<Bits> {
    let text = file.to_str()?;
    let ip = text.parse::<IpAddr>().ok().map(bits)?;
    (name(ip) == text).then_some(ip)
}

pub(super) fn is_file(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG
}

/// Time of the last change of content, name or status, nanoseconds since 1970.
pub(super) fn changed(stat: &FileStat) -> i64 {
    let nanoseconds = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
    nanoseconds(stat.st_ctime, stat.st_ctime_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use nix::fcntl::open;

    type Maker = fn(&LeaseDir, &str, &[u8]) -> Result<(File, Made)>;

    fn nameless(dir: &LeaseDir, lease: &str, text: &[u8]) -> Result<(File, Made)> {
        Ok(dir.link_nameless(lease, text)?.expect("this file system has nameless files"))
    }

    #[test]
    fn both_ways_of_making_a_lease_make_all_of_it_and_replace_nothing() {
        for make in [nameless as Maker, LeaseDir::rename_unfinished as Maker] {
            let scratch = Scratch::new();
            let path = scratch.path().to_owned();
            let fd = open(&path, OFlag::O_DIRECTORY, Mode::empty()).expect("open");
            let dir = LeaseDir { fd, path: path.clone() };
            std::fs::write(path.join(UNFINISHED), "of a process that was killed").expect("write");
            assert_eq!(make(&dir, "10.0.0.2", b"a\r\neth0").expect("make").1, Ok(()));
            let second = make(&dir, "10.0.0.2", b"b\r\neth0").expect("make").1;
            assert_eq!(second, Err(Errno::EEXIST));
            let text = std::fs::read(path.join("10.0.0.2")).expect("read");
            assert_eq!(text, b"a\r\neth0");
        }
    }
}
