//! Those who keep images: podloom as a program alone, containerd as a daemon and its client.

use super::disk::Disk;
use crate::error::{About, Error, Result};
use crate::invoke::wait_within;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any pull here takes on a slow disk.
const LIMIT: Duration = Duration::from_secs(300);

/// Which program keeps the images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The program.
    Podloom(PathBuf),
    /// The directory of the daemon and its client.
    Containerd(PathBuf),
}

impl Kind {
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Kind::Podloom(_) => "podloom",
            Kind::Containerd(_) => "containerd",
        }
    }
}

/// One keeper with nothing in it at first; a directory that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    kind: Kind,
    dir: PathBuf,
    daemon: Option<Child>,
    // Goes last, when nothing is open on it any more.
    disk: Disk,
}

impl Keeper {
    /// Takes the disk and starts the daemon, if there is one.
    pub(crate) fn open(kind: &Kind, disk: Disk) -> Result<Keeper> {
        let dir = disk.dir().to_owned();
        let mut keeper = Keeper { kind: kind.clone(), dir, daemon: None, disk };
        if let Kind::Containerd(programs) = kind {
            keeper.daemon = Some(keeper.start_daemon(programs)?);
            keeper.await_daemon()?;
        }
        Ok(keeper)
    }

    /// Writes out what was left to the page cache, and nothing of other disks.
    pub(crate) fn sync(&self) -> Result<()> {
        self.disk.sync()
    }

    /// With what it needs for images alone; nothing of it outside of its directory.
    fn start_daemon(&self, programs: &Path) -> Result<Child> {
        let dir = self.dir.display();
        let config = self.dir.join("config.toml");
        let text = format!(
            "version = 3\nroot = \"{dir}/root\"\nstate = \"{dir}/state\"\n\
             disabled_plugins = [\"io.containerd.cri.v1.images\", \"io.containerd.cri.v1.runtime\", \
             \"io.containerd.grpc.v1.cri\", \"io.containerd.nri.v1.nri\"]\n\
             [grpc]\naddress = \"{dir}/socket\"\n[ttrpc]\naddress = \"{dir}/socket.ttrpc\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{dir}/opt\"\n"
        );
        std::fs::write(&config, text).about(config.display())?;
        let log = self.dir.join("log");
        let log = File::create(&log).about(log.display())?;
        let mut command = Command::new(programs.join("containerd"));
        command.arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().about("containerd")
    }

    fn await_daemon(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let mut ask = self.command(&["version"]);
            if ask.output().about("ctr")?.status.success() {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(20) {
                let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                let last: String = log.lines().rev().take(3).collect::<Vec<_>>().join(" / ");
                return Err(Error::new("containerd", format!("does not answer: {last}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.kind {
            Kind::Podloom(program) => {
                let mut command = Command::new(program);
                command.arg("image").arg("--root").arg(self.dir.join("images"));
                command
            }
            Kind::Containerd(programs) => {
                let mut command = Command::new(programs.join("ctr"));
                command.arg("--address").arg(self.dir.join("socket"));
                command
            }
        };
        command.args(arguments);
        command
    }

    /// The command that pulls and unpacks.
    pub(crate) fn pull(&self, reference: &str) -> Command {
        match self.kind {
            Kind::Podloom(_) => self.command(&["pull", "--quiet", "--plain-http", reference]),
            Kind::Containerd(_) => self.command(&["images", "pull", "--plain-http", reference]),
        }
    }

    /// The command that takes in an archive and unpacks it.
    pub(crate) fn import(&self, archive: &Path) -> Command {
        let mut command = match self.kind {
            Kind::Podloom(_) => self.command(&["import", "--quiet"]),
            Kind::Containerd(_) => self.command(&["images", "import"]),
        };
        command.arg(archive);
        command
    }

    /// The command that lists; names or identifiers alone if `short`.
    pub(crate) fn list(&self, form: List) -> Command {
        let verb: &[&str] = match self.kind {
            Kind::Podloom(_) => &["ls"],
            Kind::Containerd(_) => &["images", "ls"],
        };
        let mut command = self.command(verb);
        if form == List::Short {
            command.arg("-q");
        }
        command
    }

    /// The daemon's largest resident set so far, KiB.
    pub(crate) fn daemon_peak(&self) -> Result<Option<u64>> {
        let Some(daemon) = &self.daemon else { return Ok(None) };
        let path = format!("/proc/{}/status", daemon.id());
        let text = std::fs::read_to_string(&path).about(&path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Ok(Some(kib.ok_or_else(|| Error::new(path, "has no VmHWM"))?))
    }
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Full,
    Short,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // It ends at SIGTERM; if it is gone already there is nothing to do.
            let _ = kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM);
            let _ = daemon.wait();
        }
    }
}

/// Runs a command; the time from before it is started until it is reaped.
pub(crate) fn timed(
    command: &mut Command,
    errors: &Path,
) -> Result<std::result::Result<Duration, String>> {
    let stderr = File::create(errors).about(errors.display())?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let subject = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let mut child = command.spawn().about(&subject)?;
    let status = wait_within(&mut child, LIMIT)?;
    let wall = start.elapsed();
    let Some(status) = status else { return Ok(Err(format!("took {LIMIT:?} and was killed"))) };
    if status.success() {
        return Ok(Ok(wall));
    }
    let said = std::fs::read_to_string(errors).unwrap_or_default();
    let said: Vec<&str> = said.split_whitespace().collect();
    Ok(Err(format!("{status}: {}", said.join(" "))))
}
