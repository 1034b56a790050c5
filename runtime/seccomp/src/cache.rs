//! Filters kept on disk, so that a profile is compiled once and not for every container.
//!
//! The folder belongs to this user alone, and so does every file in it: anything else is not read.
//! A file holds the key it was made for and a checksum, and its filter is checked as the kernel
//! would before it is used. Whatever is wrong, the profile is compiled anew, and the operator told.

use crate::arch;
use crate::bpf::{self, Insn};
use crate::compile::compile;
use crate::error::{Error, Warning};
use crate::key::{self, Key};
use crate::plan::flag;
use crate::program::{Listener, Program};
use runtime_spec::Seccomp;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Filters kept at most. A node has few profiles; the oldest go first.
const MAX_FILES: usize = 64;
/// Bytes of a file at most: the longest filter, with room for warnings.
const MAX_BYTES: usize = 64 * 1024;
const MAGIC: &[u8; 8] = b"seccomp1";
/// Magic, checksum, key, flags, instructions, warnings.
const HEAD: usize = 8 + 32 + 32 + 4 + 4 + 4;

/// A folder of compiled filters.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// A cache in `dir`, such as `/run/podloom/seccomp`. Nothing is opened yet; the folder is made
    /// when a filter is first kept, in a parent that must exist.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The filter of a profile for this machine: the kept one, or a new one that is then kept.
    ///
    /// Trouble with the cache is a [`Warning`] of the program, never an error.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn program(&self, profile: &Seccomp) -> Result<Program, Error> {
        let key = key::of(profile, arch::native().ok_or(Error::Machine)?);
        let name = key.name();
        let found = self.open().map_err(|trouble| (self.dir.clone(), trouble)).and_then(|dir| {
            let Some(dir) = dir else { return Ok((None, None)) };
            let kept = load(dir.as_fd(), &key, profile)
                .map_err(|trouble| (self.dir.join(&name), trouble))?;
            Ok((Some(dir), kept))
        });
        match found {
            Ok((_, Some(kept))) => Ok(kept),
            Ok((dir, None)) => {
                let mut program = compile(profile)?;
                if let Err(trouble) = self.keep(dir, &key, &program) {
                    program.warnings.push(warning(&self.dir, &trouble));
                }
                Ok(program)
            }
            Err((path, trouble)) => {
                let mut program = compile(profile)?;
                let replaced = matches!(trouble, Trouble::Content(_))
                    .then(|| self.open().and_then(|dir| self.keep(dir, &key, &program)));
                program.warnings.push(warning(&path, &trouble));
                if let Some(Err(trouble)) = replaced {
                    program.warnings.push(warning(&self.dir, &trouble));
                }
                Ok(program)
            }
        }
    }

    /// The folder, if there is one.
    fn open(&self) -> Result<Option<OwnedFd>, Trouble> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(&self.dir, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Trouble::System("open", error)),
        };
        let facts = rustix::fs::fstat(&dir).map_err(|error| Trouble::System("stat", error))?;
        if facts.st_uid != rustix::process::geteuid().as_raw() || facts.st_mode & 0o077 != 0 {
            return Err(Trouble::Owner);
        }
        Ok(Some(dir))
    }

    fn keep(&self, dir: Option<OwnedFd>, key: &Key, program: &Program) -> Result<(), Trouble> {
        let bytes = encode(key, program);
        if bytes.len() > MAX_BYTES {
            return Ok(());
        }
        let dir = match dir {
            Some(dir) => dir,
            None => {
                match rustix::fs::mkdir(&self.dir, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(Trouble::System("make", error)),
                }
                self.open()?.ok_or(Trouble::System("open", Errno::NOENT))?
            }
        };
        prune(dir.as_fd())?;
        store(dir.as_fd(), &key.name(), &bytes)
    }
}

/// Why a filter was not taken from the cache.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}: {1}")]
    System(&'static str, Errno),
    #[error("another user could write it: want it owned by this user, mode 0700")]
    Owner,
    #[error("{0}")]
    Content(&'static str),
}

fn warning(path: &Path, trouble: &Trouble) -> Warning {
    Warning::Cache { path: path.to_path_buf(), cause: trouble.to_string() }
}

/// The kept filter, if there is one.
fn load(dir: BorrowedFd<'_>, key: &Key, profile: &Seccomp) -> Result<Option<Program>, Trouble> {
    // A fifo put there must not block.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, key.name(), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(Trouble::Content("a symbolic link")),
        Err(error) => return Err(Trouble::System("open", error)),
    };
    let facts = rustix::fs::fstat(&file).map_err(|error| Trouble::System("stat", error))?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
        return Err(Trouble::Content("not a regular file"));
    }
    if facts.st_uid != rustix::process::geteuid().as_raw() || facts.st_mode & 0o077 != 0 {
        return Err(Trouble::Content("another user could write it"));
    }
    let size = usize::try_from(facts.st_size).unwrap_or(usize::MAX);
    if !(HEAD..=MAX_BYTES).contains(&size) {
        return Err(Trouble::Content("wrong length"));
    }
    let mut bytes = vec![0; size];
    let mut read = 0;
    while read < size {
        match rustix::io::read(&file, &mut bytes[read..]) {
            Ok(0) => return Err(Trouble::Content("wrong length")),
            Ok(more) => read += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(Trouble::System("read", error)),
        }
    }
    let mut program = decode(key, &bytes).ok_or(Trouble::Content("damaged"))?;
    program.listener = Listener::of(profile, program.flags & flag::NEW_LISTENER != 0);
    Ok(Some(program))
}

/// Writes under another name first: readers see all of a file or none.
fn store(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> Result<(), Trouble> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    let new = format!(".new-{}-{unique}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // One left by a process of the same number that was killed is in the way.
    let open = || rustix::fs::openat(dir, &new, flags, Mode::RUSR | Mode::WUSR);
    let file = match open() {
        Err(Errno::EXIST) => {
            remove(dir, &new)?;
            open()
        }
        other => other,
    };
    let file = file.map_err(|error| Trouble::System("make", error))?;
    let done = write(&file, bytes).and_then(|()| rustix::fs::renameat(dir, &new, dir, name));
    done.map_err(|error| match remove(dir, &new) {
        Ok(()) => Trouble::System("write", error),
        Err(left) => left,
    })
}

fn write(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn remove(dir: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<(), Trouble> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Trouble::System("remove", error)),
    }
}

/// Makes room for one more: the oldest go, unfinished ones of killed writers among them.
fn prune(dir: BorrowedFd<'_>) -> Result<(), Trouble> {
    let list = rustix::fs::Dir::read_from(dir).map_err(|error| Trouble::System("list", error))?;
    let mut files = Vec::new();
    for entry in list {
        let entry = entry.map_err(|error| Trouble::System("list", error))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(facts) => files.push((facts.st_mtime, facts.st_mtime_nsec, name.to_owned())),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(Trouble::System("stat", error)),
        }
    }
    files.sort();
    let excess = (files.len() + 1).saturating_sub(MAX_FILES);
    for (_, _, name) in files.into_iter().take(excess) {
        remove(dir, name)?;
    }
    Ok(())
}

fn encode(key: &Key, program: &Program) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + program.insns.len() * 8);
    bytes.extend(MAGIC);
    bytes.extend([0; 32]);
    bytes.extend(key.bytes());
    bytes.extend(program.flags.to_ne_bytes());
    bytes.extend((program.insns.len() as u32).to_ne_bytes());
    let unknown = || {
        program.warnings.iter().filter_map(|warning| match warning {
            Warning::UnknownCall(name) => Some(name),
            Warning::Cache { .. } => None,
        })
    };
    bytes.extend((unknown().count() as u32).to_ne_bytes());
    for insn in &program.insns {
        bytes.extend(insn.code.to_ne_bytes());
        bytes.extend([insn.jt, insn.jf]);
        bytes.extend(insn.k.to_ne_bytes());
    }
    for name in unknown() {
        bytes.extend((name.len() as u32).to_ne_bytes());
        bytes.extend(name.as_bytes());
    }
    let sum = key::digest(&bytes[40..]);
    bytes[8..40].copy_from_slice(&sum);
    bytes
}

fn decode(key: &Key, bytes: &[u8]) -> Option<Program> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (sum, rest) = rest.split_at_checked(32)?;
    if *sum != key::digest(rest) {
        return None;
    }
    let mut rest = rest.strip_prefix(key.bytes())?;
    let flags = word(&mut rest)?;
    let length = word(&mut rest)? as usize;
    let warned = word(&mut rest)?;
    if length > bpf::MAX {
        return None;
    }
    let (code, mut rest) = rest.split_at_checked(length * 8)?;
    let insns = code.chunks_exact(8).map(|raw| Insn {
        code: u16::from_ne_bytes([raw[0], raw[1]]),
        jt: raw[2],
        jf: raw[3],
        k: u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]),
    });
    let insns: Vec<Insn> = insns.collect();
    let mut warnings = Vec::new();
    for _ in 0..warned {
        let length = word(&mut rest)? as usize;
        let (name, more) = rest.split_at_checked(length)?;
        warnings.push(Warning::UnknownCall(std::str::from_utf8(name).ok()?.to_owned()));
        rest = more;
    }
    let whole = rest.is_empty() && bpf::check(&insns);
    whole.then_some(Program { insns, flags, listener: None, warnings })
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    let (word, more) = rest.split_first_chunk::<4>()?;
    *rest = more;
    Some(u32::from_ne_bytes(*word))
}
