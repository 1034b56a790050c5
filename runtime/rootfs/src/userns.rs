//! User namespaces for idmapped mounts: made, held by their descriptor, never entered.
#![allow(unsafe_code, reason = "clone(2) has no safe wrapper")]

use crate::plan::IdMap;
use crate::{Error, ErrorKind};
use runtime_spec::IdMapping;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fmt::Write;
use std::path::Path;

/// The user namespace that a mapping needs.
///
/// # Errors
/// The kernel refuses the namespace or its mappings.
pub(crate) fn open_for(map: &IdMap) -> Result<OwnedFd, Error> {
    match map {
        IdMap::At(path) => descriptor(path, &path.display().to_string()),
        IdMap::Fresh { uids, gids } => {
            let keeper = Keeper::start()?;
            let folder = format!("/proc/{}", keeper.pid);
            write_map(&format!("{folder}/uid_map"), uids)?;
            write_map(&format!("{folder}/gid_map"), gids)?;
            descriptor(Path::new(&format!("{folder}/ns/user")), "user namespace")
        }
    }
}

fn descriptor(path: &Path, subject: &str) -> Result<OwnedFd, Error> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::kernel(subject, "cannot be opened", errno))
}

fn write_map(path: &str, mappings: &[IdMapping]) -> Result<(), Error> {
    let mut text = String::new();
    for IdMapping { container_id, host_id, size } in mappings {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{container_id} {host_id} {size}");
    }
    std::fs::write(path, &text).map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
        let cause = format!("the mappings {:?} are refused: {error}", text.trim_end());
        let hint = Some("at most 340 lines, no overlaps, IDs below 2^32 - 1".to_owned());
        let subject = "user namespace of an idmapped mount".to_owned();
        Error { kind: ErrorKind::Kernel(errno), subject, cause, hint }
    })
}

/// A process that keeps a namespace alive until its descriptor is open. It ends with this value,
/// also when the caller is killed: it waits for the end of a pipe.
struct Keeper {
    pid: i32,
    /// Closed first, which ends the process.
    leash: Option<OwnedFd>,
}

impl Keeper {
    fn start() -> Result<Keeper, Error> {
        let failed = |errno| Error::kernel("user namespace of an idmapped mount", "clone", errno);
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        // No signal at its end: a caller's handler must not reap a process it does not know.
        let flags = libc::c_ulong::try_from(libc::CLONE_NEWUSER).unwrap_or(0);
        // SAFETY: without CLONE_VM and with no stack of its own the child is a copy, as after fork;
        // it makes three system calls that are safe in a copy of a threaded process, then ends.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        match i32::try_from(pid) {
            Ok(0) => {
                drop(write);
                let mut byte = [0u8; 1];
                while rustix::io::read(&read, &mut byte) == Err(Errno::INTR) {}
                // SAFETY: ends the process without running anything of the copied program.
                unsafe { libc::_exit(0) }
            }
            Ok(pid) if pid > 0 => Ok(Keeper { pid, leash: Some(write) }),
            _ => {
                let error = std::io::Error::last_os_error().raw_os_error();
                Err(failed(error.map_or(Errno::IO, Errno::from_raw_os_error)))
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.leash = None;
        let again = Some(libc::EINTR);
        // SAFETY: waits for our own child; no status is asked for. Children that send no signal
        // are only waited for with __WALL.
        while unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), libc::__WALL) } < 0
            && std::io::Error::last_os_error().raw_os_error() == again
        {}
    }
}
