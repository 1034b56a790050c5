//! Files that the kernel makes up as they are read. A call reads thousands of them, so each costs as
//! few system calls as it can, and no memory of its own.

use rustix::fs::{CWD, Mode, OFlags, open, openat};
use rustix::io::{Errno, read};
use std::cell::Cell;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Room for a file, in bytes: more than any has but for long lists.
const ROOM: usize = 16 << 10;

/// Longer lists are not read.
const LONGEST: usize = 64 << 20;

/// How the kernel makes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// All of it for the first read that has room for it.
    AtOnce,
    /// Piece by piece, until a read brings nothing.
    Piecemeal,
}

/// A directory below one that is open. A way through such file systems takes locks at each step, and
/// those to the mounts are the same for all.
#[derive(Clone, Debug)]
pub(crate) struct Dir {
    top: Arc<OwnedFd>,
    path: PathBuf,
}

/// Mounts that are open.
#[derive(Debug, Default)]
pub(crate) struct Tops(HashMap<PathBuf, Arc<OwnedFd>>);

impl Tops {
    /// The directory `path` below `mount`, whether it is there or not; none without the mount.
    pub(crate) fn dir(&mut self, mount: &Path, path: &str) -> Option<Dir> {
        let path = PathBuf::from(path);
        if let Some(top) = self.0.get(mount) {
            return Some(Dir { top: top.clone(), path });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = Arc::new(open(mount, flags, Mode::empty()).ok()?);
        self.0.insert(mount.to_owned(), top.clone());
        Some(Dir { top, path })
    }
}

impl Dir {
    /// As [`record`], of a file in it.
    pub(crate) fn record<T>(&self, name: &str, look: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        text((self.top.as_fd(), &self.path.join(name)), Made::AtOnce, look)
    }

    /// As [`list`], of a file in it.
    pub(crate) fn list<T>(&self, name: &str, look: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        text((self.top.as_fd(), &self.path.join(name)), Made::Piecemeal, look)
    }
}

/// An open directory, and the way from there; a whole path leads from anywhere.
type Place<'a> = (BorrowedFd<'a>, &'a Path);

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What `look` makes of the text of a file with one record, as the files of control groups are; none
/// where there is no such file.
pub(crate) fn record<T>(path: &Path, look: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    text((CWD, path), Made::AtOnce, look)
}

/// The same of a file with any number of records: lists of processes, of interfaces.
pub(crate) fn list<T>(path: &Path, look: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    text((CWD, path), Made::Piecemeal, look)
}

fn text<T>(at: Place<'_>, made: Made, look: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    // Taken, not borrowed: `look` may read another file.
    let mut buffer = BUFFER.take();
    let found = load(at, made, &mut buffer).and_then(|length| {
        let text = std::str::from_utf8(buffer.get(..length)?).ok()?;
        look(text)
    });
    BUFFER.set(buffer);
    found
}

/// Bytes of the file, which are then at the beginning of `buffer`.
fn load((dir, path): Place<'_>, made: Made, buffer: &mut Vec<u8>) -> Option<usize> {
    let file = openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    if buffer.len() < ROOM {
        buffer.resize(ROOM, 0);
    }
    let mut length = 0;
    loop {
        match read(&file, buffer.get_mut(length..)?) {
            Ok(0) => return Some(length),
            Ok(more) => length += more,
            Err(Errno::INTR) => continue,
            // A group that has just been removed has its files open still, and nothing in them.
            Err(_) => return None,
        }
        if length < buffer.len() {
            if made == Made::AtOnce {
                return Some(length);
            }
        } else if length >= LONGEST {
            return None;
        } else {
            buffer.resize(2 * length, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = fn(&Path, fn(&str) -> Option<String>) -> Option<String>;

    fn same(made: Read, path: &str) {
        let ours = made(Path::new(path), |text| Some(text.to_owned()));
        assert_eq!(ours, std::fs::read_to_string(path).ok(), "{path}");
    }

    #[test]
    fn files_of_every_length_are_whole() {
        let path = std::env::temp_dir().join(format!("podloom-stats-file-{}", std::process::id()));
        for length in [0, 1, ROOM - 1, ROOM, ROOM + 1, 5 * ROOM] {
            std::fs::write(&path, "x".repeat(length)).unwrap();
            let counted = |text: &str| Some(text.len());
            assert_eq!(list(&path, counted), Some(length));
            assert_eq!(record(&path, counted), Some(length));
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(record(&path, |_| Some(())), None);
    }

    #[test]
    fn a_mount_is_opened_once_and_leads_to_the_same_files() {
        let mut tops = Tops::default();
        let (first, second) =
            (tops.dir(Path::new("/proc"), "self"), tops.dir(Path::new("/proc"), ""));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(Arc::ptr_eq(&first.top, &second.top));
        let whole = |text: &str| Some(text.to_owned());
        assert_eq!(first.record("limits", whole), record(Path::new("/proc/self/limits"), whole));
        assert_eq!(second.list("filesystems", whole), list(Path::new("/proc/filesystems"), whole));
        assert_eq!(first.record("no-such-file", whole), None);
        assert!(tops.dir(Path::new("/proc/no-such-mount"), "").is_none());
    }

    #[test]
    fn what_the_kernel_makes_up_is_whole() {
        same(record, "/proc/self/limits");
        same(record, "/proc/sys/kernel/osrelease");
        same(list, "/proc/self/net/protocols");
        // Longer than the room, and made piecemeal.
        let path = Path::new("/proc/kallsyms");
        let is_whole = || {
            let symbols = std::fs::read_to_string(path).unwrap_or_default().len();
            list(path, |text| Some(text.len())) == Some(symbols)
        };
        // A filter that somebody loads in between adds a symbol.
        assert!((0..5).any(|_| is_whole()));
        let nested = record(Path::new("/proc/self/limits"), |outer| {
            let inner = record(Path::new("/proc/sys/kernel/osrelease"), |text| Some(text.len()));
            Some((outer.starts_with("Limit"), inner > Some(0)))
        });
        assert_eq!(nested, Some((true, true)));
    }
}
