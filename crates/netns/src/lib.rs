//! Network namespaces: the only room that enters one or makes one.
//!
//! Invariant: a thread that has entered a namespace ends there. [`Netns::run`] starts a thread
//! for the work and joins it, so no caller's thread is ever left in the wrong namespace. Take
//! sockets out of a namespace, never a guard: `let socket = pod.run(open_socket)?`.

mod kind;

use nix::sched::CloneFlags;
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

/// An open network namespace; it lives as long as this value, even when its path goes away.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
    fd: OwnedFd,
    identity: (u64, u64),
}

/// Why a namespace cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is at the path, or its process has ended.
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// The path is something else than a network namespace; a plain file is what a bind mount
    /// leaves behind after an unmount or a reboot.
    NotANamespace {
        /// The path as given.
        path: PathBuf,
    },
    /// The kernel refused a step.
    Io {
        /// The path as given.
        path: PathBuf,
        /// What was tried, as in "cannot enter".
        step: &'static str,
        /// The kernel's reason.
        cause: io::Error,
    },
}

impl Error {
    /// Whether there is no such namespace (any more).
    pub fn is_gone(&self) -> bool {
        matches!(self, Error::NotFound { .. } | Error::NotANamespace { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound { path } => write!(f, "{}: no such namespace", path.display()),
            Error::NotANamespace { path } => {
                write!(f, "{}: is not a network namespace", path.display())
            }
            Error::Io { path, step, cause } => write!(f, "{}: {step}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { cause, .. } => Some(cause),
            Error::NotFound { .. } | Error::NotANamespace { .. } => None,
        }
    }
}

impl From<Error> for cni_types::Error {
    fn from(error: Error) -> cni_types::Error {
        cni_types::Error::new(cni_types::Code::InvalidNetns, error.to_string())
    }
}

/// What the fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Netns {
    /// Opens the network namespace at `path`: a bind mount of one, or `/proc/<pid>/ns/net`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotANamespace`], or [`Error::Io`] for anything else.
    pub fn open(path: &Path) -> Result<Netns> {
        // The file system is looked at before the file is opened: opening a device or a FIFO
        // may have effects of its own.
        match statfs(path) {
            Ok(fs) if fs.filesystem_type() == NSFS_MAGIC => {}
            Ok(_) => return Err(Error::NotANamespace { path: path.to_owned() }),
            Err(errno) => return Err(open_fault(path, errno.into())),
        }
        let file = File::open(path).map_err(|cause| open_fault(path, cause))?;
        Netns::from_file(path.to_owned(), file)
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Io`] when `/proc` is not mounted.
    pub fn current() -> Result<Netns> {
        let path = Path::new("/proc/thread-self/ns/net");
        let file = File::open(path).map_err(|cause| open_fault(path, cause))?;
        Netns::from_file(path.to_owned(), file)
    }

    /// A new, empty namespace without a name; it ends with this value (and what uses it).
    ///
    /// [`Netns::path`] is a path that other processes can open while this value lives.
    ///
    /// # Errors
    /// [`Error::Io`]; making one takes CAP_SYS_ADMIN.
    pub fn anonymous() -> Result<Netns> {
        let made = on_a_thread(Path::new("new namespace"), || {
            unshare()?;
            File::open("/proc/thread-self/ns/net")
        })?;
        let file = made.map_err(|cause| Error::Io {
            path: PathBuf::from("new namespace"),
            step: "cannot make it",
            cause,
        })?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Netns::from_file(PathBuf::from(path), file)
    }

    /// A new, empty namespace, kept alive by a bind mount at `path`.
    ///
    /// # Errors
    /// [`Error::Io`], also when something is at `path`; nothing is left there then.
    pub fn create(path: &Path) -> Result<Netns> {
        let fault = |step| move |cause| Error::Io { path: path.to_owned(), step, cause };
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(fault("cannot make the mount point"))?;
        let made = Netns::anonymous().and_then(|space| {
            let none: Option<&str> = None;
            nix::mount::mount(Some(&space.path), path, none, nix::mount::MsFlags::MS_BIND, none)
                .map_err(|errno| fault("cannot mount")(errno.into()))?;
            Ok(Netns { path: path.to_owned(), ..space })
        });
        if made.is_err() {
            // The first error is the one to report; an empty file here is harmless.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    /// Takes away what [`Netns::create`] put at `path`; success when nothing is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(path: &Path) -> Result<()> {
        use nix::errno::Errno;
        match nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH) {
            // EINVAL: a plain file, as after a reboot.
            Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
            Err(errno) => {
                let path = path.to_owned();
                return Err(Error::Io { path, step: "cannot unmount", cause: errno.into() });
            }
        }
        match std::fs::remove_file(path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(Error::Io { path: path.to_owned(), step: "cannot remove", cause })
            }
            _ => Ok(()),
        }
    }

    fn from_file(path: PathBuf, file: File) -> Result<Netns> {
        match kind::of(file.as_fd()) {
            Some(CloneFlags::CLONE_NEWNET) => {}
            _ => return Err(Error::NotANamespace { path }),
        }
        match file.metadata() {
            Ok(meta) => Ok(Netns { path, identity: (meta.dev(), meta.ino()), fd: file.into() }),
            Err(cause) => Err(Error::Io { path, step: "cannot stat", cause }),
        }
    }

    /// The path it was opened at.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it from every other namespace while it lives: device and inode.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Whether both are the same namespace, by device and inode.
    pub fn same_as(&self, other: &Netns) -> bool {
        self.identity == other.identity
    }

    /// Runs `work` in this namespace, on a thread of its own that ends there.
    ///
    /// A panic of `work` goes on in the caller.
    ///
    /// # Errors
    /// [`Error::Io`] when no thread can be started or the namespace cannot be entered (which
    /// takes CAP_SYS_ADMIN); `work` has not run then.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_a_thread(&self.path, || {
            enter(self.fd.as_fd())?;
            Ok(work())
        })?
        .map_err(|cause| Error::Io {
            path: self.path.clone(),
            step: "cannot enter",
            cause,
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Moves the calling thread into `space`.
#[expect(clippy::disallowed_methods, reason = "this crate is the one that may")]
fn enter(space: BorrowedFd<'_>) -> io::Result<()> {
    Ok(nix::sched::setns(space, CloneFlags::CLONE_NEWNET)?)
}

/// Moves the calling thread into a new namespace.
#[expect(clippy::disallowed_methods, reason = "this crate is the one that may")]
fn unshare() -> io::Result<()> {
    Ok(nix::sched::unshare(CloneFlags::CLONE_NEWNET)?)
}

/// Runs `work` on a thread that ends with it.
fn on_a_thread<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let started = thread::Builder::new().spawn_scoped(scope, work);
        let thread = started.map_err(|cause| Error::Io {
            path: path.to_owned(),
            step: "cannot start a thread",
            cause,
        })?;
        thread.join().map_err(|panic| std::panic::resume_unwind(panic))
    })
}

fn open_fault(path: &Path, cause: io::Error) -> Error {
    use nix::libc::{ENOENT, ENOTDIR, ESRCH};
    let path = path.to_owned();
    match cause.raw_os_error() {
        Some(ENOENT | ENOTDIR | ESRCH) => Error::NotFound { path },
        _ => Error::Io { path, step: "cannot open", cause },
    }
}
