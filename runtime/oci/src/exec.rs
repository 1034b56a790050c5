//! A further process in a container that runs.

use crate::child::{Exec, Tail};
use crate::container::Container;
use crate::explain::Context;
use crate::filter::Filter;
use crate::launch::{self, Child, Launch};
use crate::namespace::{self, Join};
use crate::plan::personality;
use crate::process::Plan;
use crate::rdt::Rdt;
use crate::sync::{self, Fault, Word};
use crate::sys::Disguise;
use crate::{Error, Kind, Result, Streams, hook, oom, pid, sys};
use runtime_spec::{NamespaceKind, Process, Spec, Status};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::cell::Cell;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// How a process is added, beyond its configuration.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// Socket that gets the master of the process's terminal.
    pub console_socket: Option<PathBuf>,
    /// Socket that gets a handle (pidfd) of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// Number of descriptors from 3 on that the process keeps.
    pub preserve_fds: u32,
    /// Add it to a paused container too, where it waits until that is resumed.
    pub ignore_paused: bool,
    /// Leave the caller's session keyring to the process.
    pub no_new_keyring: bool,
    /// Groups below the container's to put it in: `PATH` in every tree, or `CONTROLLER[,...]:PATH` in
    /// those of version 1. In other trees, and by `/`, it is the container's own; when there are none,
    /// on version 2 that of its first process.
    pub cgroups: Vec<String>,
    /// Standard streams; the caller's own when absent. A terminal takes their place, and returns the
    /// carriage before a new line unless its output is meant for the caller's own.
    pub streams: Option<Streams>,
    /// Folder of compiled filters, which several state roots may share; one in the state root when
    /// absent.
    pub filters: Option<PathBuf>,
}

/// A process that was added and runs.
#[derive(Debug)]
pub struct Executed {
    /// Its number, as the host sees it.
    pub pid: i32,
    pidfd: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
}

impl Executed {
    /// A handle: readable when it has ended.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// The terminal's master, once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// The handle, for who waits for many processes; [`Executed::wait`] is then done with.
    pub fn take_pidfd(&mut self) -> Option<OwnedFd> {
        self.pidfd.take()
    }

    /// Waits for its end; the exit status, or 128 and the signal.
    ///
    /// # Errors
    /// It was waited for already.
    pub fn wait(&mut self) -> Result<i32> {
        let subject = format!("process {}", self.pid);
        let Some(pidfd) = self.pidfd.take() else {
            return Err(Error::new(Kind::State, subject, "was waited for already"));
        };
        hook::reap(&pidfd).map_err(|errno| Error::errno(subject, "wait", errno))
    }
}

impl Container {
    /// Adds a process.
    ///
    /// # Errors
    /// The container does not run, the process's configuration is wrong, or a step failed.
    pub fn exec(&self, process: &Process, options: &ExecOptions) -> Result<Executed> {
        let mut warnings = Vec::new();
        let plan = Plan::new(process, &mut warnings)?;
        self.takes_processes(options)?;
        let spec = self.spec()?;
        let work = Work::new(self, &spec, &plan, options)?;
        let program = process.args.first().map_or("", String::as_str);
        work.run(program)
    }

    fn takes_processes(&self, options: &ExecOptions) -> Result<()> {
        match self.status() {
            Status::Running | Status::Created => Ok(()),
            Status::Paused if options.ignore_paused => Ok(()),
            Status::Paused => {
                let cause = "cannot exec in a paused container (use --ignore-paused to override)";
                Err(Error::new(Kind::State, self.id(), cause))
            }
            Status::Stopped | Status::Creating => {
                let cause = "cannot exec in a container that is not running";
                Err(Error::new(Kind::State, self.id(), cause))
            }
        }
    }

    /// The root of a container that shares its maker's mount namespace, where no namespace has it.
    fn changed_root(&self) -> Result<Option<OwnedFd>> {
        if self.record.namespaces.contains(&NamespaceKind::Mount) {
            return Ok(None);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = format!("/proc/{}/root", self.record.pid);
        let root = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|errno| Error::errno(&path, "open", errno))?;
        // Only now it is certain whose it was: the number may have gone to somebody else.
        match pid::open(self.record.pid, self.record.start_time)? {
            Some(_) => Ok(Some(root)),
            None => Err(Error::new(Kind::State, self.id(), "container not running")),
        }
    }

    /// The namespaces of the first process that are not ours already.
    fn joins(&self) -> Result<Vec<Join>> {
        let init = self.record.pid;
        let mut joins = Vec::with_capacity(self.record.namespaces.len());
        for kind in &self.record.namespaces {
            let file = namespace::file(*kind);
            let own = PathBuf::from(format!("/proc/self/ns/{file}"));
            let path = PathBuf::from(format!("/proc/{init}/ns/{file}"));
            let join = namespace::open(*kind, &path)?;
            let same = match (rustix::fs::fstat(&join.fd), rustix::fs::stat(&own)) {
                (Ok(theirs), Ok(ours)) => {
                    (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)
                }
                _ => false,
            };
            if !same {
                joins.push(join);
            }
        }
        // Only now it is certain whose they were: the number may have gone to somebody else.
        match pid::open(init, self.record.start_time)? {
            Some(_) => Ok(joins),
            None => Err(Error::new(Kind::State, self.id(), "container not running")),
        }
    }
}

/// All that is needed to add one process.
struct Work<'a> {
    container: &'a Container,
    plan: &'a Plan,
    options: &'a ExecOptions,
    joins: Vec<Join>,
    joiner: Option<cgroup::Joiner>,
    filter: Option<Filter>,
    console: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
    personality: Option<u64>,
    exe: Option<Disguise>,
    root: Option<OwnedFd>,
    rdt: Option<Rdt<'a>>,
}

impl<'a> Work<'a> {
    fn new(
        container: &'a Container,
        spec: &'a Spec,
        plan: &'a Plan,
        options: &'a ExecOptions,
    ) -> Result<Work<'a>> {
        let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
        let socket = |what: &str, path: &Option<PathBuf>| {
            path.as_deref().map(|path: &Path| launch::connect(what, path)).transpose()
        };
        if options.console_socket.is_some() && !plan.terminal {
            let cause = "a console socket is given, and the process has no terminal";
            return Err(Error::invalid("--console-socket", cause));
        }
        let root = container.dir.path.parent().unwrap_or(Path::new("/"));
        let filters = options.filters.clone().unwrap_or_else(|| Filter::folder(root));
        let grouped = !container.record.cgroup.is_none();
        let init = container.record.pid.unsigned_abs();
        Ok(Work {
            container,
            plan,
            options,
            joins: container.joins()?,
            joiner: match options.cgroups.as_slice() {
                [] => grouped.then(|| container.group.joiner_beside(init)).transpose()?,
                wishes => Some(container.group.joiner_below(wishes).map_err(|error| {
                    // The words in front are those of runc.
                    Error::from(error).within("exec: adding pid to its groups")
                })?),
            },
            rdt: Rdt::of(spec, container.id())?,
            filter: profile
                .map(|profile| Filter::new(profile, &filters, &mut Vec::new()))
                .transpose()?,
            console: socket("console socket", &options.console_socket)?,
            pidfd: socket("pidfd socket", &options.pidfd_socket)?,
            personality: spec.linux.as_ref().map(personality).transpose()?.flatten(),
            exe: launch::disguise()?,
            root: container.changed_root()?,
        })
    }

    fn run(&self, program: &str) -> Result<Executed> {
        let (root, sysctls, hooks, said) = (None, &[], "", None);
        let context = Context { process: self.plan, program, root, sysctls, hooks, said };
        let explain = |fault: Fault| context.explain(fault);
        let child = self.launch(&explain)?;
        if let Some(socket) = &self.pidfd {
            let handle = pid::stat(child.pid).map(|stat| pid::open(child.pid, stat.start_time));
            let handle = handle.transpose()?.flatten();
            sync::send(socket.as_fd(), b"pidfd", handle.as_ref().map(AsFd::as_fd))
                .map_err(|errno| Error::errno("pidfd socket", "send", errno))?;
        }
        if let Some(filter) = &self.filter {
            filter.describe(child.pid, &self.container.state())?;
        }
        let mut terminal = None;
        loop {
            match child.hear(explain)? {
                (Word::Terminal, master) => terminal = master,
                (Word::Ready, _) => break,
                _ => {}
            }
        }
        self.grant(child.pid)?;
        child.go()?;
        child.executed(explain)?;
        let pid = child.pid;
        Ok(Executed { pid, pidfd: child.keep(), terminal })
    }

    fn launch(&self, explain: &impl Fn(Fault) -> Error) -> Result<Child> {
        let fail = |errno| Error::errno("process", "socketpair", errno);
        let (mine, theirs) = sync::pair().map_err(fail)?;
        let id = self.container.id();
        let keyring = CString::new(format!("_ses.{id}")).ok();
        let exec = Exec {
            sync: theirs.as_fd(),
            streams: self.options.streams.as_ref(),
            root: self.root.as_ref().map(AsFd::as_fd),
            cgroup: self
                .joiner
                .as_ref()
                .filter(|_| !launch::joins_users(&self.joins))
                .map(|joiner| (joiner, joiner.clone_into().is_some())),
            keyring: keyring.filter(|_| !self.options.no_new_keyring),
            console: self.console.as_ref().map(AsFd::as_fd),
            personality: self.personality,
            tail: Tail {
                plan: self.plan,
                preserve: self.options.preserve_fds,
                exe: self.exe.as_ref(),
                filter: self.filter.as_ref(),
                own_limits: !self.has_users(),
                entered: Cell::new(false),
            },
        };
        // Processes of the container see the child as soon as it exists.
        sys::set_dumpable(false).map_err(|errno| Error::errno("process", "prctl", errno))?;
        let launch = Launch {
            joins: &self.joins,
            new: 0,
            joiner: self.joiner.as_ref(),
            sync: theirs.as_fd(),
        };
        let spawned = launch.run(&mut || {
            sys::forsake(mine.as_fd());
            if let Some(socket) = &self.pidfd {
                sys::forsake(socket.as_fd());
            }
            exec.run()
        });
        Ok(Child::new(spawned.map_err(explain)?, mine))
    }

    fn has_users(&self) -> bool {
        self.container.record.namespaces.contains(&NamespaceKind::User)
    }

    /// What takes the host's rights.
    fn grant(&self, pid: i32) -> Result<()> {
        if let Some(score) = self.plan.oom_score {
            oom::set(pid, score)?;
        }
        self.rdt.as_ref().map_or(Ok(()), |rdt| rdt.join(pid))?;
        if self.has_users() {
            for (index, (which, soft, hard)) in self.plan.limits.iter().enumerate() {
                sys::set_limit(pid, *which, *soft, *hard).map_err(|errno| {
                    Error::errno(format!("process.rlimits[{index}]"), "prlimit", errno)
                })?;
            }
        }
        Ok(())
    }
}
