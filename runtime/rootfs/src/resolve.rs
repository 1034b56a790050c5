//! Finding and making places inside a container, whatever its links say.
//!
//! Every place is found by one openat2(2) that starts at the container's root and cannot leave it;
//! from then on only the descriptor counts. What is missing is made one name at a time below a
//! descriptor, so that a link swapped in meanwhile leads nowhere.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat_raw};
use rustix::io::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// How often a resolution that raced with a rename is tried again.
const RACES: usize = 128;

/// How many dangling links one path may lead through: as many as the kernel follows.
const LINKS: usize = 40;

/// Room for a path, its final zero included.
pub(crate) const PATH_MAX: usize = 4096;

/// What to make when nothing is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// Whether links on the way are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Inside the root.
    Inside,
    /// Not at all: any is an error, `LOOP`.
    Refused,
}

impl Links {
    fn flags(self) -> ResolveFlags {
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match self {
            Links::Inside => flags,
            Links::Refused => flags | ResolveFlags::NO_SYMLINKS,
        }
    }
}

/// Opens a place for reference only.
///
/// # Errors
/// The kernel's; `NOENT` when nothing is there.
pub(crate) fn find(root: BorrowedFd<'_>, path: &CStr, links: Links) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    patient(|| openat2(root, path, flags, Mode::empty(), links.flags()))
}

/// Repeats what raced with a rename.
fn patient<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..RACES {
        match call() {
            Err(Errno::AGAIN | Errno::INTR) => (),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens one name below a directory, which must not be a link. Without O_NOFOLLOW, with which the
/// kernel would open the link itself.
pub(crate) fn child(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    patient(|| openat2(parent, name, flags, Mode::empty(), resolve))
}

/// Opens a place after making what is missing on the way to it.
///
/// # Errors
/// The kernel's.
pub(crate) fn make(
    root: BorrowedFd<'_>,
    path: &CStr,
    leaf: Leaf,
    links: Links,
) -> Result<OwnedFd, Errno> {
    let mut text = Text::new(path.to_bytes())?;
    for _ in 0..LINKS {
        match attempt(root, &mut text, leaf, links)? {
            Some(fd) => return Ok(fd),
            None if links == Links::Refused => return Err(Errno::LOOP),
            None => (),
        }
    }
    Err(Errno::LOOP)
}

/// One attempt; `None` after a dangling link was written into `text`.
fn attempt(
    root: BorrowedFd<'_>,
    text: &mut Text,
    leaf: Leaf,
    links: Links,
) -> Result<Option<OwnedFd>, Errno> {
    let (mut at, mut start) = deepest(root, text, links)?;
    while start < text.len {
        let end = text.next_slash(start);
        let name = text.part(start, end)?;
        let made = match name.as_cstr().to_bytes() {
            b"" | b"." => {
                start = end + 1;
                continue;
            }
            b".." => return Err(Errno::NOENT),
            _ if end < text.len || leaf == Leaf::Directory => directory(at.as_fd(), name.as_cstr()),
            _ => file(at.as_fd(), name.as_cstr()),
        };
        match made {
            Ok(fd) => at = fd,
            Err(Errno::LOOP) => {
                let mut target = [MaybeUninit::uninit(); PATH_MAX];
                let (target, _) = readlinkat_raw(&at, name.as_cstr(), &mut target[..])?;
                text.replace(start, end, target)?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        start = end + 1;
    }
    Ok(Some(at))
}

/// The deepest ancestor that exists, and where the rest of the path starts.
fn deepest(root: BorrowedFd<'_>, text: &Text, links: Links) -> Result<(OwnedFd, usize), Errno> {
    let mut end = text.len;
    loop {
        let part = text.part(0, end)?;
        let path = if end == 0 { c"." } else { part.as_cstr() };
        match find(root, path, links) {
            Ok(fd) => return Ok((fd, if end == 0 { 0 } else { end + 1 })),
            Err(Errno::NOENT) if end > 0 => end = text.last_slash(end),
            Err(error) => return Err(error),
        }
    }
}

fn directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => child(parent, name),
        Err(error) => Err(error),
    }
}

fn file(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let new = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    match openat(parent, name, new, Mode::from_raw_mode(0o644)) {
        Err(Errno::EXIST) => child(parent, name),
        other => other,
    }
}

/// A path that can grow by the links it leads through, without allocating.
pub(crate) struct Text {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl Text {
    fn new(path: &[u8]) -> Result<Text, Errno> {
        let mut text = Text { bytes: [0; PATH_MAX], len: 0 };
        text.push(path)?;
        Ok(text)
    }

    fn push(&mut self, more: &[u8]) -> Result<(), Errno> {
        let end = self.len + more.len();
        let room = self.bytes.get_mut(self.len..end).filter(|_| end < PATH_MAX);
        room.ok_or(Errno::NAMETOOLONG)?.copy_from_slice(more);
        self.len = end;
        Ok(())
    }

    fn get(&self, start: usize, end: usize) -> &[u8] {
        self.bytes.get(start.min(end)..end).unwrap_or_default()
    }

    fn part(&self, start: usize, end: usize) -> Result<Text, Errno> {
        Text::new(self.get(start, end))
    }

    fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    fn next_slash(&self, from: usize) -> usize {
        let found = self.get(from, self.len).iter().position(|&byte| byte == b'/');
        found.map_or(self.len, |at| from + at)
    }

    fn last_slash(&self, before: usize) -> usize {
        self.get(0, before).iter().rposition(|&byte| byte == b'/').unwrap_or(0)
    }

    /// Puts a link's target where its name was.
    fn replace(&mut self, start: usize, end: usize, target: &[u8]) -> Result<(), Errno> {
        let mut text = Text::new(b"")?;
        if target.first() != Some(&b'/') {
            text.push(self.get(0, start))?;
        }
        text.push(target)?;
        text.push(self.get(end, self.len))?;
        *self = text;
        Ok(())
    }
}
