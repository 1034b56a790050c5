//! `dhcp daemon`: one process, one thread, which waits with poll(2) for callers, for servers and for
//! the next moment at which something is due.
//!
//! It never blocks: what it asks of the kernel is answered at once, and servers are not waited for.
//! Namespaces are entered on threads that end there (crate `netns`); sockets are carried out.

mod attachment;
mod door;
mod flags;
mod keeper;

use crate::clock::Time;
use crate::protocol::Key;
use crate::store::{Lock, Store};
use crate::sys;
use cni_types::{Code, Error, Result};
use door::{Door, Word};
use flags::{Command, Settings};
use keeper::Keeper;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// How long a DEL that works without a daemon may hold the records.
const OTHERS: Duration = Duration::from_secs(5);

/// Writes a line to the log.
#[allow(clippy::print_stderr, reason = "standard error is the daemon's log")]
fn note(subject: impl Display, text: impl Display) {
    eprintln!("{subject}: {text}");
}

/// The daemon's `main`: `words` are those behind `daemon`.
#[allow(clippy::print_stderr, reason = "standard error is where help goes")]
pub(crate) fn main(words: impl Iterator<Item = String>) -> ExitCode {
    match flags::parse(words) {
        Ok(Command::Help) => {
            eprint!("{}", flags::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Command::Run(settings)) => match run(settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                note("dhcp daemon", error);
                ExitCode::FAILURE
            }
        },
        Err(fault) => {
            note("dhcp daemon", fault);
            eprint!("{}", flags::USAGE);
            ExitCode::from(2)
        }
    }
}

/// What is taken away at the end.
struct Files(Vec<PathBuf>);

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(fault) = fs::remove_file(path) {
                note(path.display(), fault);
            }
        }
    }
}

fn run(settings: Settings) -> Result<()> {
    umask(Mode::from_bits_truncate(0o077));
    let signals = signals()?;
    let passed = sys::passed_socket().map_err(|count| {
        Error::new(Code::InvalidConfig, format!("LISTEN_FDS: {count} sockets were passed"))
            .with_details("the daemon listens on one")
    })?;
    let mut files = Files(Vec::new());
    let (listener, store, _lock) = match passed.map(UnixListener::from) {
        Some(listener) => {
            let address = listener.local_addr().map_err(|e| Error::io("passed socket", &e))?;
            let path = address.as_pathname().unwrap_or(&settings.socket).to_owned();
            let (store, lock) = own(&path)?;
            (listener, store, lock)
        }
        None => {
            let (store, lock) = own(&settings.socket)?;
            let listener = listen(&settings.socket)?;
            files.0.push(settings.socket.clone());
            (listener, store, lock)
        }
    };
    listener.set_nonblocking(true).map_err(|e| Error::io("socket", &e))?;
    if let Some(path) = &settings.pidfile {
        fs::write(path, std::process::id().to_string())
            .map_err(|e| Error::io(path.display(), &e))?;
        files.0.push(path.clone());
    }
    let mut keeper = Keeper::new(settings, store);
    keeper.resume(Time::now()?)?;
    serve(&mut keeper, &mut Door::new(listener), &signals)
}

fn signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        set.add(signal);
    }
    let fault = |e: nix::Error| Error::new(Code::Kernel, format!("signals: {e}"));
    set.thread_block().map_err(fault)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(fault)
}

/// Takes the records beside a socket for this daemon alone.
fn own(socket: &Path) -> Result<(Store, Lock)> {
    let store = Store::beside(socket);
    let begin = Instant::now();
    loop {
        if let Some(lock) = store.lock()? {
            return Ok((store, lock));
        }
        if begin.elapsed() > OTHERS {
            let subject = format!("{}: another DHCP daemon runs there", socket.display());
            return Err(Error::new(Code::Conflict, subject)
                .with_details("stop it, or give this one another -socketpath"));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Listens at `path`. A socket that is there is a dead daemon's: this one has the lock.
fn listen(path: &Path) -> Result<UnixListener> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io(path.display(), &e)),
        _ => {}
    }
    UnixListener::bind(path).map_err(|e| Error::io(path.display(), &e))
}

/// Whose descriptor is ready.
#[derive(Clone, Debug)]
enum Ready {
    Signal,
    Listener,
    Caller(u64),
    Pod(Key),
}

fn serve(keeper: &mut Keeper, door: &mut Door, signals: &SignalFd) -> Result<()> {
    loop {
        let now = Time::now()?;
        keeper.tick(now);
        say(keeper, door);
        door.close_silent(now);
        for (who, flags) in wait(keeper, door, signals)? {
            let now = Time::now()?;
            match who {
                Ready::Signal => return Ok(()),
                Ready::Listener => door.accept(now),
                Ready::Pod(key) => keeper.receive(&key, now),
                Ready::Caller(id) => {
                    if flags.contains(PollFlags::POLLOUT) {
                        door.write(id);
                    }
                    match door.read(id) {
                        Word::Asked(request) => keeper.request(id, *request, now),
                        Word::Left => keeper.left(id),
                        Word::Nothing => {}
                    }
                }
            }
            say(keeper, door);
        }
    }
}

fn say(keeper: &mut Keeper, door: &mut Door) {
    for (caller, reply) in keeper.replies() {
        door.answer(caller, &reply);
    }
}

/// Waits until a descriptor is ready or something is due.
fn wait(keeper: &Keeper, door: &Door, signals: &SignalFd) -> Result<Vec<(Ready, PollFlags)>> {
    let mut who = vec![Ready::Signal];
    let mut list = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let mut add = |ready: Ready, fd, flags| {
        who.push(ready);
        list.push(PollFd::new(fd, flags));
    };
    let now = Time::now()?;
    if let Some(listener) = door.listener(now) {
        add(Ready::Listener, listener, PollFlags::POLLIN);
    }
    for (id, fd, has_more) in door.callers() {
        let write = if has_more { PollFlags::POLLOUT } else { PollFlags::empty() };
        add(Ready::Caller(id), fd, PollFlags::POLLIN | write);
    }
    let sockets: Vec<(&Key, BorrowedFd<'_>)> = keeper.sockets().collect();
    for (key, fd) in sockets {
        add(Ready::Pod(key.clone()), fd, PollFlags::POLLIN);
    }
    let delay = keeper.wake().min(door.wake(now)).since(now);
    // One more, as what is left of a millisecond would be waited for by asking again and again.
    let delay = delay.saturating_add(Duration::from_millis(1));
    let timeout = PollTimeout::try_from(delay).unwrap_or(PollTimeout::MAX);
    match poll(&mut list, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(errno) => return Err(Error::new(Code::Kernel, format!("poll: {errno}"))),
    }
    let ready = |fd: &PollFd<'_>| fd.revents().filter(|flags| !flags.is_empty());
    let found = who.into_iter().zip(&list).filter_map(|(who, fd)| Some((who, ready(fd)?)));
    Ok(found.collect())
}
