//! One group's directory: files read and written relative to its descriptor.

use crate::error::{Error, Kind, Result};
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, ResolveFlags, openat, openat2, unlinkat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest file of a group that is read, in bytes. `memory.stat` of a host with 1,024 memory
/// nodes stays below it; a list of 100,000 processes does too.
const MAX_READ: usize = 4 << 20;

/// A directory of a cgroup filesystem.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens `path` without following any link.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::find(path)?.ok_or_else(|| Error::io(path, "open", Errno::NOENT))
    }

    /// Like [`Dir::open`]; `None` when there is none.
    pub(crate) fn find(path: &Path) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve) {
            Ok(fd) => Ok(Some(Self { fd, path: path.to_owned() })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io(path, "open", e)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens a file of the group.
    pub(crate) fn file(&self, name: &str, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        openat(&self.fd, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
    }

    /// Writes `value` with one call, as the kernel wants it.
    pub(crate) fn write(&self, name: &str, value: &str) -> Result<()> {
        self.try_write(name, value).map_err(|e| self.failed_write(name, value, e))
    }

    pub(crate) fn try_write(&self, name: &str, value: &str) -> std::result::Result<(), Errno> {
        let fd = self.file(name, OFlags::WRONLY)?;
        write_whole(&fd, value)
    }

    /// The error of a failed write.
    pub(crate) fn failed_write(&self, name: &str, value: &str, e: Errno) -> Error {
        let error = Error::io(&self.path.join(name), &format!("write {value:?}"), e);
        match e {
            Errno::NOENT if self.path.exists() => error
                .of_kind(Kind::ControllerMissing)
                .hint("its controller is not enabled for this group"),
            Errno::NODEV if self.path.exists() => {
                error.of_kind(Kind::Invalid).hint("this machine has no such device")
            }
            _ => error,
        }
    }

    /// Reads a file.
    pub(crate) fn read(&self, name: &str) -> Result<String> {
        self.try_read(name)?.ok_or_else(|| Error::io(&self.path.join(name), "open", Errno::NOENT))
    }

    /// Reads a file; `None` when there is none, or it has no meaning for this group.
    pub(crate) fn try_read(&self, name: &str) -> Result<Option<String>> {
        let fail = |verb, e| Error::io(&self.path.join(name), verb, e);
        let fd = match self.file(name, OFlags::RDONLY) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(fail("open", e)),
        };
        match read_whole(&fd) {
            Ok(text) => Ok(Some(text)),
            // EOPNOTSUPP: processes of a threaded group, pressure switched off at boot.
            // ENODEV: the group was removed meanwhile.
            Err(Errno::OPNOTSUPP | Errno::NODEV) => Ok(None),
            Err(e) => Err(fail("read", e)),
        }
    }

    /// Names of the groups below this one.
    pub(crate) fn children(&self) -> Result<Vec<Vec<u8>>> {
        subdirectories(self.fd.as_fd()).map_err(|e| Error::io(&self.path, "list", e))
    }

    /// Calls `visit` on each group of the tree, sub-groups first; with `remove`, each sub-group is
    /// then removed. However deep the tree is, only two descriptors are open at a time.
    pub(crate) fn walk(
        &self,
        remove: bool,
        visit: &mut dyn FnMut(&Dir) -> Result<()>,
    ) -> Result<()> {
        let pending = self.children()?;
        if pending.is_empty() {
            return visit(self);
        }
        let dup = rustix::io::fcntl_dupfd_cloexec(&self.fd, 3);
        let mut at = Dir { fd: dup.map_err(|e| self.lost(e))?, path: self.path.clone() };
        let mut levels = vec![(Vec::new(), pending)];
        while let Some((name, todo)) = levels.last_mut() {
            if let Some(child) = todo.pop() {
                match at.descend(&child)? {
                    Some(dir) => at = dir,
                    None => continue,
                }
                levels.push((child, at.children().or_else(gone)?));
                continue;
            }
            visit(&at)?;
            let name = std::mem::take(name);
            levels.pop();
            if levels.is_empty() {
                break;
            }
            at = at.ascend()?;
            if remove {
                at.remove_child(&name)?;
            }
        }
        Ok(())
    }

    fn lost(&self, e: Errno) -> Error {
        Error::io(&self.path, "open", e)
    }

    fn descend(&self, name: &[u8]) -> Result<Option<Dir>> {
        let path = self.path.join(OsStr::from_bytes(name));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Dir { fd, path })),
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(e) => Err(Error::io(&path, "open", e)),
        }
    }

    // A group never moves to another parent, so ".." leads back to where the walk came from.
    fn ascend(&self) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(&self.fd, c"..", flags, Mode::empty()).map_err(|e| self.lost(e))?;
        Ok(Dir { fd, path: self.path.parent().unwrap_or(Path::new("/")).to_owned() })
    }

    fn remove_child(&self, name: &[u8]) -> Result<()> {
        match unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::io(&self.path.join(OsStr::from_bytes(name)), "remove", e)),
        }
    }
}

/// A group that vanished while it was walked has no children.
fn gone(e: Error) -> Result<Vec<Vec<u8>>> {
    match e.errno() {
        Some(libc::ENOENT | libc::ENODEV) => Ok(Vec::new()),
        _ => Err(e),
    }
}

fn subdirectories(fd: BorrowedFd<'_>) -> std::result::Result<Vec<Vec<u8>>, Errno> {
    // Two links are the directory's own; each sub-group adds one.
    if rustix::fs::fstat(fd)?.st_nlink == 2 {
        return Ok(Vec::new());
    }
    rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(fd, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() == rustix::fs::FileType::Directory && name != b"." && name != b".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Writes with one call; the kernel takes all or refuses.
pub(crate) fn write_whole(fd: &OwnedFd, value: &str) -> std::result::Result<(), Errno> {
    loop {
        match rustix::io::write(fd, value.as_bytes()) {
            Ok(n) if n == value.len() => return Ok(()),
            Ok(_) => return Err(Errno::IO),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Reads to the end, from the start, up to [`MAX_READ`] bytes.
pub(crate) fn read_whole(fd: &OwnedFd) -> std::result::Result<String, Errno> {
    let mut text = vec![0; 4096];
    let mut used = 0;
    loop {
        if used == text.len() {
            if used >= MAX_READ {
                return Err(Errno::FBIG);
            }
            text.resize(used * 4, 0);
        }
        match rustix::io::pread(fd, &mut text[used..], used as u64) {
            Ok(0) => break,
            Ok(n) => used += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    text.truncate(used);
    String::from_utf8(text).map_err(|_| Errno::ILSEQ)
}

/// Waits between tries, longer each time, until a deadline.
pub(crate) struct Tries {
    until: Instant,
    pause: Duration,
}

impl Tries {
    pub(crate) fn within(limit: Duration) -> Self {
        Self { until: Instant::now() + limit, pause: Duration::from_micros(100) }
    }

    /// Sleeps; false when the deadline has passed.
    pub(crate) fn again(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(self.pause.min(left));
        self.pause = (self.pause * 2).min(Duration::from_millis(20));
        true
    }

    /// The time left.
    pub(crate) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
