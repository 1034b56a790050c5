//! A container through its life: each state is a type, and a step to the next consumes it.

use crate::plan::{Hooks, Plan};
use crate::state::{self, Brief, Dir, Record};
use crate::sync::{self, Fault, Step, Word};
use crate::{ContainerId, Error, Kind, Result, Runtime, explain, hook, pid};
use runtime_spec::{Spec, State, Status};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A container that exists, whatever its state.
#[derive(Debug)]
pub struct Container {
    pub(crate) dir: Dir,
    pub(crate) record: Record,
    pub(crate) group: cgroup::Cgroup,
}

/// A container just made, with what only its maker has.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) container: Container,
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
}

/// A container whose process waits to be started.
#[derive(Debug)]
pub struct Created {
    owned: Owned,
    plan: Plan,
}

/// A container whose process was started by this program.
#[derive(Debug)]
pub struct Running {
    owned: Owned,
}

impl Created {
    pub(crate) fn new(owned: Owned, plan: Plan) -> Created {
        Created { owned, plan }
    }

    /// The first process, as the host sees it.
    pub fn pid(&self) -> i32 {
        self.owned.container.record.pid
    }

    /// A handle of the first process: readable when it has ended.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.owned.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// The terminal's master, once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.owned.terminal.take()
    }

    /// The container.
    pub fn container(&self) -> &Container {
        &self.owned.container
    }

    /// What was odd in the configuration but harmless, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.plan.warnings
    }

    /// Starts the process. On failure the container is stopped and can be deleted.
    ///
    /// # Errors
    /// A `startContainer` hook failed, or the program could not be executed.
    pub fn start(self) -> Result<Running> {
        let Created { owned, plan } = self;
        let container = &owned.container;
        if plan.process.is_none() {
            return Err(Error::invalid("process", "is missing"));
        }
        container.dir.lock()?;
        if !container.is_waiting() {
            return Err(container.not_in(container.status(), "start"));
        }
        container.open_gate(|fault, said| match container.explain_start(fault, said) {
            Ok(error) | Err(error) => error,
        })?;
        container.after_start(&plan.hooks)?;
        Ok(Running { owned })
    }

    /// The container, to be left to other programs.
    pub fn into_container(self) -> Container {
        self.owned.container
    }
}

impl Running {
    /// The first process, as the host sees it.
    pub fn pid(&self) -> i32 {
        self.owned.container.record.pid
    }

    /// A handle of the first process: readable when it has ended.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.owned.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// The terminal's master, once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.owned.terminal.take()
    }

    /// Waits for the end of the first process; its exit status, or 128 and the signal.
    ///
    /// # Errors
    /// It is no child of this program.
    pub fn wait(&mut self) -> Result<i32> {
        let pid = self.pid();
        let subject = || format!("process {pid}");
        let Some(pidfd) = self.owned.pidfd.take() else {
            return Err(Error::new(Kind::State, subject(), "was waited for already"));
        };
        hook::reap(&pidfd).map_err(|errno| Error::errno(subject(), "wait", errno))
    }

    /// The container, to be signalled, paused, deleted.
    pub fn container(&self) -> &Container {
        &self.owned.container
    }

    /// The container, to be left to other programs.
    pub fn into_container(self) -> Container {
        self.owned.container
    }
}

impl Runtime {
    /// Finds a container.
    ///
    /// # Errors
    /// There is none of this name, or its record cannot be understood.
    pub fn load(&self, id: &ContainerId) -> Result<Container> {
        let dir = Dir::open(&self.root, id)?;
        match dir.load()? {
            Some(record) => {
                Ok(Container::new(dir, record.clone(), cgroup::Cgroup::load(record.cgroup)))
            }
            None => {
                let cause = "its state is half made or damaged; delete --force removes it";
                Err(Error::new(Kind::State, id.as_str(), cause))
            }
        }
    }

    /// Names of all containers, those half made included.
    ///
    /// # Errors
    /// The state root cannot be read.
    pub fn list(&self) -> Result<Vec<ContainerId>> {
        state::names(&self.root)
    }
}

impl Container {
    pub(crate) fn new(dir: Dir, record: Record, group: cgroup::Cgroup) -> Container {
        Container { dir, record, group }
    }

    /// The name.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// The first process while it is alive, as the host sees it.
    pub fn pid(&self) -> Option<i32> {
        pid::is_alive(self.record.pid, self.record.start_time).then_some(self.record.pid)
    }

    /// When it was made: seconds since 1970, and nanoseconds.
    pub fn created(&self) -> (u64, u32) {
        self.record.created
    }

    /// User who made it.
    pub fn owner(&self) -> u32 {
        self.record.owner
    }

    /// Directory that its root was made from.
    pub fn rootfs(&self) -> &std::path::Path {
        &self.record.rootfs
    }

    /// Its control group.
    pub fn cgroup(&self) -> &cgroup::Cgroup {
        &self.group
    }

    /// Where in its life it is.
    pub fn status(&self) -> Status {
        if self.pid().is_none() {
            // A container that is being made has no process yet for a moment.
            let making = self.record.pid == 0 && self.dir.is_locked();
            return if making { Status::Creating } else { Status::Stopped };
        }
        if self.dir.has(state::GATE_EARLY) {
            Status::Creating
        } else if self.group.is_frozen().unwrap_or(false) {
            Status::Paused
        } else if self.is_waiting() {
            Status::Created
        } else {
            Status::Running
        }
    }

    /// Whether its first process waits to be started.
    fn is_waiting(&self) -> bool {
        let late = state::GATE_LATE;
        self.dir.has(state::GATE) || self.dir.has(late) && self.dir.is_awaited(late)
    }

    /// Sets limits.
    ///
    /// # Errors
    /// A limit is wrong, or this machine cannot set it.
    pub fn update(&self, resources: &runtime_spec::Resources) -> Result<()> {
        let mut resources = std::borrow::Cow::Borrowed(resources);
        let alone = |memory: &runtime_spec::Memory| {
            memory.limit.is_none() && memory.swap.is_some_and(|swap| swap > 0)
        };
        if resources.memory.as_ref().is_some_and(alone) {
            // A limit of memory and swap means one beside that of memory, which stays.
            let now = i64::try_from(self.group.stats()?.memory.usage.limit).ok();
            if let Some(memory) = &mut resources.to_mut().memory {
                memory.limit = now;
            }
        }
        Ok(self.group.update(&resources)?)
    }

    /// What its group has used, in the form of runc's `events`.
    ///
    /// # Errors
    /// The group cannot be read.
    pub fn stats(&self) -> Result<cgroup::stats::Stats> {
        Ok(self.group.stats()?)
    }

    /// The state, as runtime.md has it.
    pub fn state(&self) -> State {
        let status = self.status();
        State {
            oci_version: self.record.oci_version.clone(),
            id: self.record.id.clone(),
            status,
            pid: Some(if status == Status::Stopped { 0 } else { self.record.pid }),
            bundle: self.record.bundle.clone(),
            annotations: self.record.annotations.clone(),
        }
    }

    /// The configuration as it was when the container was made.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn spec(&self) -> Result<Spec> {
        Ok(Spec::from_json(&self.dir.read(state::CONFIG)?)?)
    }

    /// Starts the process of a container that was made by another program.
    ///
    /// # Errors
    /// It is not waiting for that, a hook failed, or its program could not be executed.
    pub fn start(&self) -> Result<()> {
        self.dir.lock()?;
        match self.status() {
            Status::Created => {}
            other => return Err(self.not_in(other, "start")),
        }
        let brief = self.brief();
        if !brief.process {
            return Err(Error::invalid("process", "is missing"));
        }
        self.open_gate(|fault, said| match self.explain_start(fault, said) {
            Ok(error) | Err(error) => error,
        })?;
        if !brief.poststart {
            return Ok(());
        }
        self.after_start(&Plan::new(&self.spec()?)?.hooks)
    }

    /// A start that failed, in words.
    fn explain_start(&self, fault: Fault, said: Option<BorrowedFd<'_>>) -> Result<Error> {
        let spec = self.spec()?;
        let (plan, process) = (Plan::new(&spec)?, spec.process.unwrap_or_default());
        let program = process.args.first().map_or("", String::as_str);
        let process = plan.process.as_ref();
        let process = process.ok_or_else(|| Error::invalid("process", "is missing"))?;
        let (root, sysctls, hooks) = (None, &[], "startContainer");
        Ok(explain::Context { process, program, root, sysctls, hooks, said }.explain(fault))
    }

    /// What the configuration has, from the record or, where that is older, from the configuration.
    pub(crate) fn brief(&self) -> Brief {
        self.record.brief.unwrap_or_else(|| Brief::of(&self.spec().unwrap_or_default()))
    }

    pub(crate) fn not_in(&self, status: Status, verb: &str) -> Error {
        let cause = match (verb, status) {
            ("start", Status::Running | Status::Paused) => {
                "cannot start an already running container".to_owned()
            }
            ("start", Status::Stopped) => "cannot start a container that has stopped".to_owned(),
            _ => format!("cannot {verb} a container that is {}", status.name()),
        };
        Error::new(Kind::State, self.id(), cause)
    }

    /// Tells the first process to go on, and waits until it has executed its program or failed.
    /// The lock, without which two could do so, is let go of when that is known.
    ///
    /// Killed in the middle, it leaves the socket under its last name: whether the word was said is
    /// told by whether the process still listens.
    fn open_gate(&self, explain: impl Fn(Fault, Option<BorrowedFd<'_>>) -> Error) -> Result<()> {
        let fail = |errno| Error::errno(format!("start of {}", self.id()), "connect", errno);
        let (unix, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket =
            rustix::net::socket_with(unix, kind, SocketFlags::CLOEXEC, None).map_err(fail)?;
        let late = state::GATE_LATE;
        if self.dir.has(state::GATE) {
            self.dir.rename(state::GATE, late)?;
        }
        let address = SocketAddrUnix::new(self.dir.short_path(late)).map_err(fail)?;
        rustix::net::connect(&socket, &address).map_err(fail)?;
        sync::say(socket.as_fd(), Word::Go).map_err(fail)?;
        let heard = sync::hear(socket.as_fd());
        self.dir.unlink(late)?;
        self.dir.unlock();
        match heard {
            Ok(None) => Ok(()),
            Ok(Some((Word::Failed(fault), said))) => {
                self.settle_failure(fault);
                Err(explain(fault, said.as_ref().map(AsFd::as_fd)))
            }
            Ok(Some(_)) => Err(fail(Errno::BADMSG)),
            Err(errno) => Err(fail(errno)),
        }
    }

    /// A first process that has told its failure is about to end: callers expect it gone.
    fn settle_failure(&self, fault: Fault) {
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(2);
        let told = !matches!(fault, Fault::Step(Step::Sync, ..));
        if let Ok(Some(pidfd)) = pid::open(self.record.pid, self.record.start_time)
            && told
        {
            // Should it not end, `state` says so.
            let _ = hook::wait_until(pidfd.as_fd(), Some(limit));
        }
    }

    /// `poststart` hooks; the first that fails stops the container (runtime.md, Lifecycle).
    fn after_start(&self, hooks: &Hooks) -> Result<()> {
        if hooks.poststart.is_empty() {
            return Ok(());
        }
        let file = hook::state_file(&self.state())?;
        hook::run_all(&hooks.poststart, file.as_fd()).map_err(|fault| {
            // The hook's failure is what is reported.
            let _ = self.group.kill(crate::delete::PATIENCE);
            let _ = self.kill_init(libc::SIGKILL);
            hook::explain("poststart", fault, Some(file.as_fd()))
        })
    }
}
