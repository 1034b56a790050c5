//! One runtime, run as Kubernetes' shims run it: a process for every step.

use super::bundle::{self, Shape, Subject};
use super::options::Contestant;
use crate::error::{About, Error, Result};
use crate::invoke::wait_within;
use crate::node::Site;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is asked of a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Start,
    Exec,
    Delete,
    Run,
}

impl Step {
    /// The order in which a round goes.
    pub(crate) const ALL: [Step; 5] =
        [Step::Create, Step::Start, Step::Exec, Step::Delete, Step::Run];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Step::Create => "create",
            Step::Start => "start",
            Step::Exec => "exec true",
            Step::Delete => "delete",
            Step::Run => "run true",
        }
    }
}

/// How a step ended: the time from before its process is made until it is reaped, or why it failed.
pub(crate) type Outcome = std::result::Result<Duration, String>;

/// What the players of one shape share.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) site: &'a Site,
    pub(crate) shape: Shape,
    pub(crate) rootfs: PathBuf,
    /// A file of the host that is mounted in containers.
    pub(crate) shared: PathBuf,
    /// Below it lie all control groups of the run.
    pub(crate) cgroups: String,
}

impl Stage<'_> {
    /// A bundle of a contestant that runs `/NAME`.
    pub(crate) fn bundle(&self, contestant: &str, name: &str) -> Result<PathBuf> {
        let cgroup = format!("{}/{contestant}", self.cgroups);
        let config = bundle::config(&Subject {
            shape: self.shape,
            rootfs: &self.rootfs,
            shared: &self.shared,
            cgroup: &cgroup,
            program: &format!("/{name}"),
        });
        let dir = self.site.dir().join(format!("{}-{contestant}-{name}", self.shape.as_str()));
        bundle::write(&dir, &config)
    }
}

/// A runtime with its own state and bundles; it has one container at a time.
#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) contestant: Contestant,
    root: PathBuf,
    errors: PathBuf,
    pid_file: PathBuf,
    waiting: PathBuf,
    ending: PathBuf,
    init: Option<Pid>,
}

const ID: &str = "bench";
/// A runtime that takes longer has missed the end of its container.
const LIMIT: Duration = Duration::from_secs(10);

impl Player {
    pub(crate) fn new(stage: &Stage<'_>, contestant: &Contestant) -> Result<Player> {
        let name = &contestant.name;
        let at = |what: &str| {
            PathBuf::from("/run").join(format!("{}-{name}{what}", stage.shape.as_str()))
        };
        Ok(Player {
            contestant: contestant.clone(),
            root: at(""),
            errors: at(".stderr"),
            pid_file: at(".pid"),
            waiting: stage.bundle(name, "pause")?,
            ending: stage.bundle(name, "true")?,
            init: None,
        })
    }

    /// Takes one step; deleting begins when the container has ended.
    pub(crate) fn take(&mut self, step: Step) -> Result<Outcome> {
        if step == Step::Delete {
            self.end_init()?;
        }
        let outcome = self.timed(&mut self.command(step))?;
        if step == Step::Create && outcome.is_ok() {
            let text = std::fs::read_to_string(&self.pid_file).about(self.pid_file.display())?;
            let pid = text.trim().parse().about(self.pid_file.display())?;
            self.init = Some(Pid::from_raw(pid));
        }
        if outcome.is_err() && matches!(step, Step::Create | Step::Run) {
            self.clear()?;
        }
        Ok(outcome)
    }

    /// Removes what a failed step left, so that the next round can begin.
    fn clear(&self) -> Result<()> {
        let mut command = Command::new(&self.contestant.program);
        command.arg("--root").arg(&self.root).args(["delete", "--force", ID]);
        // Most have left nothing, and say so.
        self.timed(&mut command).map(drop)
    }

    /// The command of a step.
    pub(crate) fn command(&self, step: Step) -> Command {
        let mut command = Command::new(&self.contestant.program);
        command.arg("--root").arg(&self.root);
        let bundle = |command: &mut Command, verb: &str, dir: &Path| {
            command.arg(verb).arg("--bundle").arg(dir);
        };
        match step {
            Step::Create => {
                bundle(&mut command, "create", &self.waiting);
                command.arg("--pid-file").arg(&self.pid_file).arg(ID);
            }
            Step::Start => drop(command.args(["start", ID])),
            Step::Exec => drop(command.args(["exec", ID, "/true"])),
            Step::Delete => drop(command.args(["delete", ID])),
            Step::Run => {
                bundle(&mut command, "run", &self.ending);
                command.arg(ID);
            }
        }
        command
    }

    fn timed(&self, command: &mut Command) -> Result<Outcome> {
        // The container inherits these: a pipe would stay open for as long as it lives.
        let errors = File::create(&self.errors).about(self.errors.display())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let subject = command.get_program().to_string_lossy().into_owned();
        let start = Instant::now();
        let mut child = command.spawn().about(&subject)?;
        let status = wait_within(&mut child, LIMIT)?;
        let wall = start.elapsed();
        let Some(status) = status else { return Ok(Err(format!("took {LIMIT:?} and was killed"))) };
        if status.success() {
            return Ok(Ok(wall));
        }
        let said = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let said: Vec<&str> = said.split_whitespace().collect();
        Ok(Err(format!("{status}: {}", said.join(" "))))
    }

    /// Kills the container's first process, which is a child of this one by now.
    fn end_init(&mut self) -> Result<()> {
        let Some(pid) = self.init.take() else { return Ok(()) };
        kill(pid, Signal::SIGKILL).about(format!("process {pid}"))?;
        waitpid(pid, None).about(format!("process {pid}"))?;
        Ok(())
    }

    /// What the tracing program says of the largest process of a step.
    pub(crate) fn largest(&self, tally: &Path, step: Step) -> Result<u64> {
        let report = self.root.with_extension("tally");
        let plain = self.command(step);
        let mut traced = Command::new(tally);
        traced.arg(&report).arg(plain.get_program()).args(plain.get_args());
        if let Err(cause) = self.timed(&mut traced)? {
            return Err(Error::new(&self.contestant.name, cause));
        }
        let text = std::fs::read_to_string(&report).about(report.display())?;
        crate::floor::largest(&text).about(report.display())
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // A run that was broken off must not leave a container; what it says is of no use then.
        let _ = self.end_init();
        let _ = self.clear();
    }
}
