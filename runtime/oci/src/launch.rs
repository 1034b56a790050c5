//! Starting a child, and the talk with it while it sets itself up.

use crate::namespace::{self, Join};
use crate::sync::{self, At, Fault, Step, Word};
use crate::sys::{self, Disguise, Spawned};
use crate::{Error, Kind, Result, child, hook};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::Signal;
use std::time::Duration;

/// How a child is made.
pub(crate) struct Launch<'a> {
    pub(crate) joins: &'a [Join],
    /// Namespaces made new, as flags.
    pub(crate) new: u64,
    /// The control group: the child is born in its v2 part, and joins the rest by itself.
    pub(crate) joiner: Option<&'a cgroup::Joiner>,
    /// Where the child tells its failure.
    pub(crate) sync: BorrowedFd<'a>,
}

impl Launch<'_> {
    /// Makes the child.
    pub(crate) fn run(&self, body: &mut dyn FnMut() -> i32) -> std::result::Result<Spawned, Fault> {
        let into = self.joiner.and_then(cgroup::Joiner::clone_into);
        if self.joins.is_empty() {
            return sys::spawn(self.new, into, body).at(Step::Clone);
        }
        let early = self.joiner.filter(|_| joins_users(self.joins));
        let into = into.filter(|_| early.is_none());
        // A time namespace takes a process that shares its memory with nobody. And in the namespace
        // of a container's groups the group itself, with `nsdelegate`, is not to be seen from
        // outside: who is born in it may only join that then.
        let later = sys::NEWTIME | if into.is_some() { sys::NEWCGROUP } else { 0 };
        let mut body = || match namespace::enter_later(self.joins, later) {
            Ok(()) => body(),
            Err((index, errno)) => child::report(self.sync, Fault::Step(Step::Join, index, errno)),
        };
        let mut made = Err(Fault::Step(Step::Clone, 0, Errno::SRCH));
        sys::aside(&mut || {
            let grouped = early.map_or(Ok(()), |joiner| joiner.join(false));
            made = grouped
                .map_err(|error| Fault::Step(Step::Cgroup, 0, child::errno(error)))
                .and_then(|()| {
                    namespace::enter(self.joins, later)
                        .map_err(|(index, errno)| Fault::Step(Step::Join, index, errno))
                })
                .and_then(|()| sys::spawn(self.new | sys::PARENT, into, &mut body).at(Step::Clone));
            0
        })
        .at(Step::Clone)?;
        made
    }
}

/// Whether a user namespace is among those joined: who has joined it has no right to the host's
/// control groups any more, so the group is joined before.
pub(crate) fn joins_users(joins: &[Join]) -> bool {
    joins.iter().any(|join| join.kind == sys::NEWUSER)
}

/// A child that is killed when it is not kept.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pidfd: Option<OwnedFd>,
    sync: OwnedFd,
}

impl Child {
    pub(crate) fn new(spawned: Spawned, sync: OwnedFd) -> Child {
        Child { pid: spawned.pid, pidfd: Some(spawned.pidfd), sync }
    }

    pub(crate) fn go(&self) -> Result<()> {
        match sync::say(self.sync.as_fd(), Word::Go) {
            // It has ended; what it last said tells why.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::errno(format!("process {}", self.pid), "send", errno)),
        }
    }

    /// What it says next; its end is a failure.
    pub(crate) fn hear(&self, explain: impl Fn(Fault) -> Error) -> Result<(Word, Option<OwnedFd>)> {
        match sync::hear(self.sync.as_fd()) {
            Ok(Some((Word::Failed(fault), _))) => Err(explain(fault)),
            Ok(Some(heard)) => Ok(heard),
            Ok(None) => Err(self.ended()),
            Err(errno) => Err(Error::errno(format!("process {}", self.pid), "receive", errno)),
        }
    }

    /// The end of the talk: nothing when the program was executed.
    pub(crate) fn executed(&self, explain: impl Fn(Fault) -> Error) -> Result<()> {
        match sync::hear(self.sync.as_fd()) {
            Ok(Some((Word::Failed(fault), _))) => Err(explain(fault)),
            Ok(Some(_) | None) => Ok(()),
            Err(errno) => Err(Error::errno(format!("process {}", self.pid), "receive", errno)),
        }
    }

    fn ended(&self) -> Error {
        let subject = "container's process";
        let status = self.pidfd.as_ref().map(|fd| {
            // It closed its side, so it is ending.
            let _ = hook::wait_until(fd.as_fd(), None);
            hook::reap(fd)
        });
        let cause = match status {
            Some(Ok(code @ 129..)) => format!(
                "was ended by signal {} while it was set up (memory limit too low?)",
                code - 128
            ),
            Some(Ok(code)) => format!("ended with status {code} while it was set up"),
            _ => "ended while it was set up".to_owned(),
        };
        Error::new(Kind::System(None), subject, cause)
    }

    /// It stays.
    pub(crate) fn keep(mut self) -> Option<OwnedFd> {
        self.pidfd.take()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(pidfd) = self.pidfd.take() {
            // It may have ended already, and even have been waited for.
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = hook::reap(&pidfd);
        }
    }
}

/// The file that takes the place of the runtime's executable in a child: nobody can run it, and
/// writing to it harms nobody. `None` where the executable is a file of that kind already: a
/// program that runs from a sealed file in memory need not hide it.
pub(crate) fn disguise() -> Result<Option<Disguise>> {
    static SEALED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    if *SEALED.get_or_init(runs_sealed) {
        return Ok(None);
    }
    let subject = "runtime's own executable";
    if !sys::can_leave_exe() {
        let cause =
            "this kernel lacks CONFIG_CHECKPOINT_RESTORE, by which it is kept out of containers";
        return Err(Error::new(Kind::Unsupported, subject, cause));
    }
    let name = "podloom-init";
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
        // Kernels before 6.3 do not know the flag, and make every such file executable.
        .or_else(|_| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC));
    let file =
        file.map_err(|errno| Error::errno(subject, "memfd (is vm.memfd_noexec 2?)", errno))?;
    Ok(Some(Disguise { file, again: sys::again() }))
}

/// Whether this program runs from a file that nobody can ever write to.
fn runs_sealed() -> bool {
    use rustix::fs::{Mode, OFlags, SealFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(own) = rustix::fs::open("/proc/self/exe", flags, Mode::empty()) else { return false };
    let wanted = SealFlags::SEAL | SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
    rustix::fs::fcntl_get_seals(&own).is_ok_and(|seals| seals.contains(wanted))
}

/// How long the owner of a socket may leave us waiting.
const ANSWER: Duration = Duration::from_secs(10);

/// Connects to a socket of the caller's that takes a terminal or a process handle.
pub(crate) fn connect(what: &str, path: &std::path::Path) -> Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let fail = |errno| Error::errno(format!("{what} {}", path.display()), "connect", errno);
    let address = SocketAddrUnix::new(path).map_err(fail)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let socket = socket.map_err(fail)?;
    let until = std::time::Instant::now() + ANSWER;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            // Nobody takes the connections that wait already.
            Err(Errno::AGAIN) if std::time::Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(Errno::AGAIN) => return Err(fail(Errno::TIMEDOUT)),
            Err(errno) => return Err(fail(errno)),
        }
    }
    rustix::io::ioctl_fionbio(&socket, false).map_err(fail)?;
    Ok(socket)
}
