//! Starting a shim, and finding one that runs.

use crate::connection::Connection;
use crate::{Error, Kind, Result, Shim, gone, io, program};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use shim_protocol::{Answer, Call, LOG, SOCKET, VERSIONS};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// How long a shim that closed its socket may take to end.
const ENDING: std::time::Duration = std::time::Duration::from_secs(2);

/// A shim to start.
#[derive(Clone, Debug)]
pub struct Spawn {
    /// `podloom-shim`.
    pub program: PathBuf,
    /// Its directory, absolute; made when it is missing.
    pub dir: PathBuf,
    /// Name of the pod.
    pub id: String,
    /// Directory of the control group that it goes to; the daemon's own when absent. With version 2
    /// it must be one without groups below it.
    pub cgroup: Option<PathBuf>,
    /// `oom_score_adj` of the shim; the daemon's own when absent.
    pub oom_score_adj: Option<i32>,
}

impl Shim {
    /// Starts a shim and waits until it answers. It goes on when this daemon ends.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] when one runs in this directory; its program cannot be run or failed.
    pub async fn spawn(spawn: &Spawn) -> Result<Shim> {
        let owned = spawn.clone();
        let start = tokio::task::spawn_blocking(move || owned.listen_and_load());
        let (listener, program) = start.await.map_err(|_| gone(&spawn.id))??;
        let mut child = spawn.start(listener, program.as_deref())?;
        let connected = Shim::connect(&spawn.dir).await;
        if let Err(error) = connected {
            return Err(spawn.explain(error, &mut child).await);
        }
        // Somebody has to take its exit status.
        tokio::spawn(async move { child.wait().await });
        connected
    }

    /// Attaches to the shim of a directory.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when there is none, [`Kind::Unsupported`] when it speaks no version that
    /// this release knows.
    pub async fn connect(dir: &Path) -> Result<Shim> {
        let subject = format!("shim {}", dir.display());
        let socket = connect(dir).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => gone(&subject),
            std::io::ErrorKind::WouldBlock => {
                Error::new(Kind::Unavailable, &subject, "the shim takes no connections")
                    .advise("it hangs; kill it to lose its containers and make the pod anew")
            }
            _ => io(&subject, "connect", error),
        })?;
        let connection = Connection::new(subject, socket)?;
        let hello = Call::Hello { versions: VERSIONS.to_vec() };
        match connection.call(&hello, Vec::new()).await? {
            (Answer::Shim(about), _) => Ok(Shim::new(dir, connection, about)),
            _ => {
                Err(Error::new(Kind::Internal, connection.subject(), "does not answer a greeting"))
            }
        }
    }
}

/// The socket by a path that is never too long.
fn short(dir: &Path) -> std::io::Result<(OwnedFd, String)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", fd.as_raw_fd());
    Ok((fd, path))
}

/// Connects without waiting: a shim that is stopped takes no connections.
fn connect(dir: &Path) -> std::io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let (_dir, path) = short(dir)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// Listens at `path` for root alone. Until the rights are set, the directory keeps others out.
fn listen(path: &str) -> std::io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    let of_root = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, of_root)?;
    Ok(listener)
}

impl Spawn {
    fn listen_and_load(self) -> Result<(UnixListener, Option<std::sync::Arc<OwnedFd>>)> {
        let program = program::load(&self.program)?;
        let subject = self.dir.display().to_string();
        std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
            .create(&self.dir)
            .map_err(|error| io(&subject, "make the directory", error))?;
        let (_dir, path) = short(&self.dir).map_err(|error| io(&subject, "open", error))?;
        let fail = |error| io(self.dir.join(SOCKET).display().to_string(), "bind", error);
        match listen(&path) {
            Ok(listener) => return Ok((listener, program)),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(fail(error)),
        }
        if UnixStream::connect(&path).is_ok() {
            return Err(Error::new(Kind::AlreadyExists, subject, "a shim runs there"));
        }
        // Of one that was killed.
        std::fs::remove_file(&path).map_err(fail)?;
        listen(&path).map(|listener| (listener, program)).map_err(fail)
    }

    fn start(
        &self,
        listener: UnixListener,
        program: Option<&OwnedFd>,
    ) -> Result<tokio::process::Child> {
        let subject = self.program.display().to_string();
        let log = self.dir.join(LOG);
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let stderr = stderr.map_err(|error| io(log.display().to_string(), "open", error))?;
        let path = program.map_or_else(
            || self.program.clone(),
            |file| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
        );
        let mut command = tokio::process::Command::new(path);
        command
            .arg0("podloom-shim")
            .arg("--id")
            .arg(&self.id)
            .arg("--dir")
            .arg(&self.dir)
            .current_dir("/")
            .env_clear()
            // For runtimes that are run as programs, which look helpers up.
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            // Threads are short-lived and few: what they used goes back to the system.
            .env("GLIBC_TUNABLES", "glibc.malloc.arena_max=1:glibc.pthread.stack_cache_size=0")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(stderr);
        if let Some(cgroup) = &self.cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        if let Some(score) = self.oom_score_adj {
            command.arg("--oom-score-adj").arg(score.to_string());
        }
        command.spawn().map_err(|error| io(subject, "start", error))
    }

    /// Why a shim that was just started does not answer.
    async fn explain(&self, error: Error, child: &mut tokio::process::Child) -> Error {
        if error.kind != Kind::Unavailable {
            return error;
        }
        let ended = tokio::time::timeout(ENDING, child.wait()).await;
        let status = match ended {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "but is still there".to_owned(),
        };
        let said = std::fs::read_to_string(self.dir.join(LOG)).unwrap_or_default();
        let last = said.lines().last().unwrap_or("it said nothing");
        let subject = format!("{} for {}", self.program.display(), self.id);
        Error::new(Kind::Io, subject, format!("ended at its start, {status}: {last}"))
    }
}
