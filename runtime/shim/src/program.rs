//! A runtime that is a program with runc's command line.

use crate::engine::{Added, Made};
use crate::error::{Result, io};
use crate::reap;
use cgroup::{Cgroup, Layout, Paths, Place, RelPath};
use oci::Streams;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};
use serde_json::Value;
use shim_protocol::{Error, Kind};
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Name of the programs' state, below the shim's directory.
const STATE: &str = "program";
/// Longest that one command may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most that is read of a program's log.
const LOG_MAX: u64 = 64 << 10;

/// A runtime's program, for one pod.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    options: Vec<String>,
    dir: PathBuf,
    root: PathBuf,
}

/// Files of one command; removed with it.
struct Files {
    dir: PathBuf,
}

impl Files {
    fn new(program: &Program) -> Result<Files> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = program.dir.join(format!("{STATE}.{number}"));
        std::fs::create_dir_all(&dir)
            .map_err(|error| io(dir.display().to_string(), "make", error))?;
        Ok(Files { dir })
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // They are in the shim's directory, which goes with the pod.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Program {
    pub(crate) fn new(dir: &Path, settings: &shim_protocol::Program) -> Program {
        let systemd = settings.systemd.then(|| "--systemd-cgroup".to_owned());
        let options = settings.options.iter().cloned().chain(systemd).collect();
        let (path, dir) = (settings.path.clone(), dir.to_owned());
        Program { path, options, root: dir.join(STATE), dir }
    }

    pub(crate) fn create(
        &self,
        id: &str,
        bundle: &Path,
        streams: &Streams,
        terminal: bool,
    ) -> Result<Made> {
        let files = Files::new(self)?;
        let console = terminal.then(|| Console::listen(&files)).transpose()?;
        let (bundle, pid_file) = (bundle.display().to_string(), files.path("pid"));
        let mut words = vec!["create", "--bundle", &bundle, "--pid-file", &pid_file];
        if let Some(console) = &console {
            words.extend(["--console-socket", &console.path]);
        }
        words.push(id);
        self.run_with(&files, &words, Some(streams))?;
        let made = self.made(&pid_file, console);
        if made.is_err() {
            // The failure is what is reported.
            let _ = self.delete(id, true);
        }
        let (pid, pidfd, terminal) = made?;
        let group = group_of(pid);
        Ok(Made { pid, pidfd, terminal, warnings: Vec::new(), waiting: None, group })
    }

    pub(crate) fn exec(&self, id: &str, process: &Value, streams: &Streams) -> Result<Added> {
        let files = Files::new(self)?;
        let terminal = process.get("terminal").and_then(Value::as_bool).unwrap_or(false);
        let console = terminal.then(|| Console::listen(&files)).transpose()?;
        let (file, pid_file) = (files.path("process.json"), files.path("pid"));
        std::fs::write(&file, process.to_string()).map_err(|error| io(&file, "write", error))?;
        let mut words = vec!["exec", "--detach", "--process", &file, "--pid-file", &pid_file];
        if let Some(console) = &console {
            words.extend(["--console-socket", &console.path]);
        }
        words.push(id);
        self.run_with(&files, &words, Some(streams))?;
        let (pid, pidfd, terminal) = self.made(&pid_file, console)?;
        Ok(Added { pid, pidfd, terminal })
    }

    fn made(
        &self,
        pid_file: &str,
        console: Option<Console>,
    ) -> Result<(i32, OwnedFd, Option<OwnedFd>)> {
        let text =
            std::fs::read_to_string(pid_file).map_err(|error| io(pid_file, "read", error))?;
        let number = text.trim().parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
        let pid = number.ok_or_else(|| Error::new(Kind::Io, pid_file, "holds no number"))?;
        // One that has ended is still there: we are its parent, and have not taken its exit status.
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(|errno| io(format!("process {pid:?}"), "pidfd_open", errno))?;
        let terminal = console.map(Console::take).transpose()?;
        Ok((pid.as_raw_nonzero().get(), pidfd, terminal))
    }

    /// Removes a container; one that is not there is removed.
    pub(crate) fn delete(&self, id: &str, force: bool) -> Result<()> {
        let words: &[&str] = if force { &["delete", "--force", id] } else { &["delete", id] };
        match self.run(words) {
            Err(error) if error.cause.contains("does not exist") => Ok(()),
            other => other.map(drop),
        }
    }

    pub(crate) fn update(&self, id: &str, resources: &Value) -> Result<()> {
        let files = Files::new(self)?;
        let file = files.path("resources.json");
        std::fs::write(&file, resources.to_string()).map_err(|error| io(&file, "write", error))?;
        self.run_with(&files, &["update", "--resources", &file, id], None)
    }

    /// Runs a command.
    pub(crate) fn run(&self, words: &[&str]) -> Result<()> {
        self.run_with(&Files::new(self)?, words, None)
    }

    fn run_with(&self, files: &Files, words: &[&str], streams: Option<&Streams>) -> Result<()> {
        let log = files.path("log");
        let subject = || format!("{} {}", self.path.display(), words.first().unwrap_or(&""));
        let mut command = Command::new(&self.path);
        command.args(&self.options).arg("--root").arg(&self.root);
        command.args(["--log", &log, "--log-format", "json"]).args(words);
        command.env_remove("GLIBC_TUNABLES").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        if let Some(streams) = streams {
            let [stdin, stdout, stderr] = streams.try_clone().map_err(crate::error::of_runtime)?;
            command.stdin(stdin).stdout(stdout).stderr(stderr);
        }
        let mut child = command.spawn().map_err(|error| {
            io(subject(), "start", error).advise("install the runtime, or correct its path")
        })?;
        drop(command);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let handle = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        // Without a handle there is nothing to wait on with a limit.
        let ended = handle.is_none_or(|handle| reap::has_ended(&handle, PATIENCE));
        if !ended {
            // It may have ended just now.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| io(subject(), "wait", error))?;
        if status.success() {
            return Ok(());
        }
        if !ended {
            let cause = format!("did not end within {} s and was killed", PATIENCE.as_secs());
            return Err(Error::new(Kind::Deadline, subject(), cause));
        }
        Err(failed(subject(), &log, status))
    }
}

/// What the program said when it failed.
fn failed(subject: String, log: &str, status: std::process::ExitStatus) -> Error {
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open(log) {
        // What cannot be read is not told.
        let _ = file.take(LOG_MAX).read_to_string(&mut text);
    }
    let mut messages = text.lines().filter_map(|line| {
        let entry: Value = serde_json::from_str(line).ok()?;
        let is_error = matches!(entry.get("level")?.as_str()?, "error" | "fatal");
        is_error.then(|| entry.get("msg")?.as_str().map(str::to_owned)).flatten()
    });
    let cause = messages.next_back().unwrap_or_else(|| format!("failed, {status}"));
    let kind = if cause.contains("does not exist") {
        Kind::NotFound
    } else if cause.contains("already exists") {
        Kind::AlreadyExists
    } else if cause.contains("not running") || cause.contains("stopped") {
        Kind::Precondition
    } else {
        Kind::Io
    };
    Error::new(kind, subject, cause)
}

/// A socket on which a program hands a terminal over.
struct Console {
    listener: UnixListener,
    path: String,
    /// Open as long as the path is used.
    _dir: OwnedFd,
}

impl Console {
    fn listen(files: &Files) -> Result<Console> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&files.dir, flags, Mode::empty())
            .map_err(|errno| io(files.dir.display().to_string(), "open", errno))?;
        // The directory's own path may be longer than the name of a socket can be.
        let path = format!("/proc/{}/fd/{}/tty", std::process::id(), dir.as_raw_fd());
        let listener = UnixListener::bind(&path).map_err(|error| io(&path, "listen", error))?;
        Ok(Console { listener, path, _dir: dir })
    }

    /// The terminal, which was sent by now.
    fn take(self) -> Result<OwnedFd> {
        let fail = |error| io("terminal", "receive", error);
        self.listener.set_nonblocking(true).map_err(fail)?;
        let (socket, _) = self.listener.accept().map_err(fail)?;
        let master = receive(&socket)?;
        with_carriage_returns(&master)?;
        Ok(master)
    }
}

/// Clients of a terminal expect a carriage return before each new line, as from any terminal.
fn with_carriage_returns(master: impl AsFd) -> Result<()> {
    let fail = |errno| io("terminal", "set up", errno);
    let mut mode = rustix::termios::tcgetattr(&master).map_err(fail)?;
    mode.output_modes.insert(rustix::termios::OutputModes::ONLCR);
    rustix::termios::tcsetattr(&master, rustix::termios::OptionalActions::Now, &mode).map_err(fail)
}

fn receive(socket: &UnixStream) -> Result<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    let mut parts = [std::io::IoSliceMut::new(&mut name)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    rustix::net::recvmsg(socket, &mut parts, &mut control, flags)
        .map_err(|errno| io("terminal", "receive", errno))?;
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.last().ok_or_else(|| Error::new(Kind::Io, "terminal", "the runtime sent none"))
}

/// The control group of a process; absent where it cannot be told.
fn group_of(pid: i32) -> Option<Cgroup> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let places = Layout::detect().ok()?.hierarchies().iter().filter_map(|tree| {
        let path = text.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            let same = names.split(',').any(|name| tree.controllers.iter().any(|c| c == name));
            (same || names.is_empty() && tree.version == cgroup::Version::V2).then_some(path)
        })?;
        let path = RelPath::parse(path).ok().filter(|path| !path.is_root())?;
        let (mount, version) = (tree.mount.clone(), tree.version);
        let controllers = tree.controllers.clone();
        Some(Place { mount, path, version, controllers, made: 0 })
    });
    let places: Vec<Place> = places.collect();
    (!places.is_empty()).then(|| Cgroup::load(Paths { places, ..Paths::default() }))
}
