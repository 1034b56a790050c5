//! Making a container up to the point where its process waits to be started.

use crate::child::{Init, Late, Tail};
use crate::container::{Container, Created, Owned};
use crate::device::Moved;
use crate::explain::Context;
use crate::filter::Filter;
use crate::grant;
use crate::group;
use crate::launch::{self, Child, Launch};
use crate::plan::Plan;
use crate::rdt::Rdt;
use crate::state::{self, Brief, Dir, Record};
use crate::sync::{self, Word};
use crate::{
    Bundle, ContainerId, Error, Result, Runtime, Streams, hook, mapping, oom, pid, process, sys,
};
use runtime_spec::{NamespaceKind, Status};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::CString;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// How a container is made, beyond its configuration.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// Socket that gets the master of the container's terminal.
    pub console_socket: Option<PathBuf>,
    /// Socket that gets a handle (pidfd) of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// Number of descriptors from 3 on that the process keeps.
    pub preserve_fds: u32,
    /// Change the root by chroot(2): for hosts that run from an initramfs.
    pub no_pivot: bool,
    /// Leave the caller's session keyring to the container.
    pub no_new_keyring: bool,
    /// Standard streams; the caller's own when absent. A terminal takes their place, and returns the
    /// carriage before a new line unless its output is meant for the caller's own.
    pub streams: Option<Streams>,
    /// Folder of compiled filters, which several state roots may share; one in the state root when
    /// absent.
    pub filters: Option<PathBuf>,
}

/// A container that can be made: all that is known before there is any effect.
struct Ready<'a> {
    runtime: &'a Runtime,
    id: &'a ContainerId,
    bundle: &'a Bundle,
    options: &'a CreateOptions,
    plan: Plan,
    /// In the place of a process that the configuration does not have.
    unset: Option<process::Plan>,
    filter: Option<Filter>,
    console: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
}

impl Runtime {
    /// Makes a container; its process waits for [`Created::start`].
    ///
    /// # Errors
    /// The configuration is wrong, the name is taken, or a step failed; nothing is left behind.
    pub fn create(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        options: &CreateOptions,
    ) -> Result<Created> {
        Ready::new(self, id, bundle, options)?.make()
    }

    /// Checks a container as a whole, and makes nothing of it. What takes long, and what only the
    /// kernel can refuse, is found by [`Runtime::create`] alone.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn check(&self, id: &ContainerId, bundle: &Bundle, options: &CreateOptions) -> Result<()> {
        let ready = Ready::new(self, id, bundle, options)?;
        // It is planned with its control groups when they are there.
        rootfs::Plan::new(&bundle.spec, &ready.situation(rootfs::Cgroups::Absent))?;
        Ok(())
    }

    fn make(&self, ready: &Ready<'_>, undo: &mut Undo) -> Result<Owned> {
        let Some(dir) = &undo.0 else { return Err(Error::invalid(ready.id.as_str(), "is gone")) };
        let (plan, spec) = (&ready.plan, &ready.bundle.spec);
        let mut record = self.record(ready)?;
        dir.write(state::CONFIG, &ready.bundle.text)?;
        let mut rdt = Rdt::of(spec, ready.id.as_str())?;
        let group = group::Group::before(self, ready.id, spec)?;
        record.cgroup = group.paths();
        rdt.as_ref().inspect(|rdt| rdt.note(&mut record));
        dir.save(&record)?;
        let root = rootfs::Plan::new(spec, &ready.situation(group.shown()?))?;
        let prepared = root.prepare()?;
        let mut cover = self::cover(dir, &mut record, &prepared)?;
        let gate = gate(dir)?;
        let wait = plan.namespaces.is_new(NamespaceKind::User) || group.is_late();
        let parts =
            Parts { dir, wait, root: &root, prepared: &prepared, gate: &gate, group: &group };
        let (child, state_files) = launch_init(ready, &parts)?;
        record.pid = child.pid;
        record.start_time = pid::stat(child.pid).map(|stat| stat.start_time).unwrap_or_default();
        if group.is_late() {
            // Whoever deletes what is cut short here finds the group by the process in it.
            dir.save(&record)?;
        }
        let group = group.after(self, ready.id, child.pid, spec)?;
        record.cgroup = group.paths();
        dir.save(&record)?;
        rdt.as_mut().map_or(Ok(()), |rdt| rdt.enter(child.pid))?;
        let talk = Talk { ready, record: &record, root: &root, child: &child, wait };
        let (terminal, moved) = talk.lead(&state_files)?;
        dir.rename(state::GATE_EARLY, state::GATE)?;
        let group = group.keep();
        Moved::keep(moved);
        Rdt::keep(rdt);
        let pidfd = child.keep();
        cover.0 = None;
        let Some(dir) = undo.0.take() else {
            return Err(Error::invalid(ready.id.as_str(), "is gone"));
        };
        Ok(Owned { container: Container::new(dir, record, group), pidfd, terminal })
    }

    fn record(&self, ready: &Ready<'_>) -> Result<Record> {
        let spec = &ready.bundle.spec;
        let root = spec.root.as_ref().map(|root| ready.bundle.path.join(&root.path));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let namespaces = &ready.plan.namespaces;
        Ok(Record {
            oci_version: spec.oci_version.clone(),
            id: ready.id.to_string(),
            bundle: ready.bundle.path.clone(),
            rootfs: root.unwrap_or_default(),
            created: (now.as_secs(), now.subsec_nanos()),
            owner: rustix::process::getuid().as_raw(),
            namespaces: NamespaceKind::ALL
                .iter()
                .copied()
                .filter(|kind| namespaces.has(*kind))
                .collect(),
            annotations: spec.annotations.clone(),
            brief: Some(Brief::of(spec)),
            ..Record::default()
        })
    }
}

/// Removes what a failed creation leaves.
struct Undo(Option<Dir>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(dir) = self.0.take() {
            // The failure that led here is what the caller reports.
            let _ = dir.remove();
        }
    }
}

/// The root's mount among the host's, removed with a failed creation.
struct Cover(Option<(PathBuf, u64)>);

impl Drop for Cover {
    fn drop(&mut self) {
        if let Some((root, number)) = self.0.take() {
            // The failure that led here is what the caller reports.
            let _ = rootfs::uncover(&root, number);
        }
    }
}

/// Records the mount that the host will see before it is made, so that it is always found again.
fn cover(dir: &Dir, record: &mut Record, prepared: &rootfs::Prepared) -> Result<Cover> {
    record.cover = prepared.cover();
    let Some(number) = record.cover else { return Ok(Cover(None)) };
    dir.save(record)?;
    Ok(Cover(Some((record.rootfs.clone(), number))))
}

impl std::fmt::Debug for Ready<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Ready").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<'a> Ready<'a> {
    fn new(
        runtime: &'a Runtime,
        id: &'a ContainerId,
        bundle: &'a Bundle,
        options: &'a CreateOptions,
    ) -> Result<Ready<'a>> {
        let mut plan = Plan::new(&bundle.spec)?;
        let unset = plan.process.is_none().then(process::Plan::unset);
        let terminal = plan.process.as_ref().is_some_and(|process| process.terminal);
        if let Some(process) = &plan.process {
            grant::check(process, &plan.namespaces)?;
        }
        if options.console_socket.is_some() && !terminal {
            let cause = "a console socket is given, and process.terminal is false";
            return Err(Error::invalid("--console-socket", cause));
        }
        let linux = bundle.spec.linux.as_ref();
        let profile = linux.and_then(|linux| linux.seccomp.as_ref());
        let filters = options.filters.clone().unwrap_or_else(|| Filter::folder(&runtime.root));
        if let (Some(_), Some(parent)) = (profile, filters.parent()) {
            std::fs::create_dir_all(parent)
                .map_err(|error| Error::path(parent, "mkdir", &error))?;
        }
        let filter = profile
            .map(|profile| Filter::new(profile, &filters, &mut plan.warnings))
            .transpose()?;
        let socket = |what: &str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| launch::connect(what, path)).transpose()
        };
        let console = socket("console socket", &options.console_socket)?;
        let pidfd = socket("pidfd socket", &options.pidfd_socket)?;
        Ok(Ready { runtime, id, bundle, options, plan, unset, filter, console, pidfd })
    }

    /// Makes it; its process waits for [`Created::start`].
    fn make(self) -> Result<Created> {
        let dir = Dir::create(&self.runtime.root, self.id)?;
        let mut undo = Undo(Some(dir));
        let owned = self.runtime.make(&self, &mut undo)?;
        let _ = undo.0.take();
        // Whoever keeps the container may do so for long, and others may delete it.
        owned.container.dir.unlock();
        Ok(Created::new(owned, self.plan))
    }

    fn situation(&self, cgroups: rootfs::Cgroups) -> rootfs::Situation {
        rootfs::Situation {
            bundle: self.bundle.path.clone(),
            cgroups,
            no_pivot: self.options.no_pivot,
            selinux: std::path::Path::new("/sys/fs/selinux/enforce").exists(),
        }
    }

    fn process(&self) -> Result<&process::Plan> {
        let process = self.plan.process.as_ref().or(self.unset.as_ref());
        process.ok_or_else(|| Error::invalid("process", "is missing"))
    }
}

/// What was made for the child.
struct Parts<'a> {
    dir: &'a Dir,
    wait: bool,
    root: &'a rootfs::Plan,
    prepared: &'a rootfs::Prepared,
    gate: &'a OwnedFd,
    group: &'a group::Group,
}

/// Files by which hooks in the child read the state: before and after the root is changed.
struct StateFiles {
    create: Option<OwnedFd>,
    start: Option<OwnedFd>,
}

impl StateFiles {
    fn new(ready: &Ready<'_>) -> Result<StateFiles> {
        let file = |hooks: &[hook::Hook]| {
            let any = !hooks.is_empty();
            any.then(|| hook::state_file(&ready.state(Status::Creating, 0))).transpose()
        };
        let hooks = &ready.plan.hooks;
        Ok(StateFiles {
            create: file(&hooks.create_container)?,
            start: file(&hooks.start_container)?,
        })
    }
}

/// The socket on which the first process will wait.
fn gate(dir: &Dir) -> Result<OwnedFd> {
    let fail =
        |errno| Error::errno(dir.path.join(state::GATE).display().to_string(), "bind", errno);
    let (unix, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let gate = rustix::net::socket_with(unix, kind, SocketFlags::CLOEXEC, None).map_err(fail)?;
    let address = SocketAddrUnix::new(dir.short_path(state::GATE_EARLY)).map_err(fail)?;
    rustix::net::bind(&gate, &address).map_err(fail)?;
    rustix::net::listen(&gate, 4).map_err(fail)?;
    Ok(gate)
}

fn launch_init(ready: &Ready<'_>, parts: &Parts<'_>) -> Result<(Child, StateFiles)> {
    let (plan, options) = (&ready.plan, ready.options);
    let (process, names) = (ready.process()?, &plan.namespaces);
    let joins = names.open()?;
    let fail = |errno| Error::errno("container's process", "socketpair", errno);
    let (mine, theirs) = sync::pair().map_err(fail)?;
    let exe = launch::disguise()?;
    let files = StateFiles::new(ready)?;
    let late = sys::NEWCGROUP | sys::NEWTIME;
    let new_user = names.is_new(NamespaceKind::User);
    let init = Init {
        sync: theirs.as_fd(),
        wait: parts.wait,
        become_root: new_user,
        cgroup: parts.group.joiner().filter(|_| !launch::joins_users(&joins)),
        late: Late { kinds: names.new & late, offsets: plan.time_offsets.clone() },
        streams: options.streams.as_ref(),
        keyring: keyring(ready),
        loopback: names.is_new(NamespaceKind::Network),
        host_name: ready.bundle.spec.hostname.as_deref().filter(|name| !name.is_empty()),
        domain_name: ready.bundle.spec.domainname.as_deref().filter(|name| !name.is_empty()),
        root: parts.root,
        prepared: parts.prepared,
        pause: ready.pauses(),
        create_hooks: (&plan.hooks.create_container, files.create.as_ref()),
        start_hooks: (&plan.hooks.start_container, files.start.as_ref()),
        sysctls: &plan.sysctls,
        personality: plan.personality,
        memory_policy: plan.memory_policy.as_ref().map(|(mode, nodes)| (*mode, nodes.as_slice())),
        console: ready.console.as_ref().map(AsFd::as_fd),
        tail: Tail {
            plan: process,
            preserve: options.preserve_fds,
            exe: exe.as_ref(),
            filter: ready.filter.as_ref(),
            own_limits: !names.has(NamespaceKind::User),
            entered: std::cell::Cell::new(false),
        },
        gate: parts.gate.as_fd(),
    };
    // Nobody of the container may look into the child while it is still ours. In a new PID
    // namespace nobody else is there to do so.
    if !names.is_new(NamespaceKind::Pid) && !new_user {
        sys::set_dumpable(false).map_err(|errno| Error::errno("process", "prctl", errno))?;
    }
    let launch = Launch {
        joins: &joins,
        new: names.new & !late,
        joiner: parts.group.joiner().map(|(joiner, _)| joiner),
        sync: theirs.as_fd(),
    };
    let spawned = launch.run(&mut || {
        // So that the child notices when its parent is gone.
        sys::forsake(mine.as_fd());
        // The lock on the directory is its parent's, and would outlive it here.
        sys::forsake(parts.dir.as_fd());
        if let Some(socket) = &ready.pidfd {
            sys::forsake(socket.as_fd());
        }
        init.run()
    });
    let spawned = spawned.map_err(|fault| {
        ready.context(parts.root, None).map_or_else(|e| e, |c| c.explain(fault))
    })?;
    Ok((Child::new(spawned, mine), files))
}

fn keyring(ready: &Ready<'_>) -> Option<CString> {
    let wanted = !ready.options.no_new_keyring;
    wanted.then(|| CString::new(format!("_ses.{}", ready.id)).ok()).flatten()
}

impl Ready<'_> {
    /// Whether something is to be done when the mounts are made.
    fn pauses(&self) -> bool {
        let hooks = &self.plan.hooks;
        !hooks.prestart.is_empty()
            || !hooks.create_runtime.is_empty()
            || !hooks.create_container.is_empty()
            || !hooks.start_container.is_empty()
            || !self.plan.devices.is_empty()
    }

    fn state(&self, status: Status, pid: i32) -> runtime_spec::State {
        runtime_spec::State {
            oci_version: runtime_spec::VERSION.to_owned(),
            id: self.id.to_string(),
            status,
            pid: (pid > 0).then_some(pid),
            bundle: self.bundle.path.clone(),
            annotations: self.bundle.spec.annotations.clone(),
        }
    }

    /// `said` is the file that hooks read the state from.
    fn context<'b>(
        &'b self,
        root: &'b rootfs::Plan,
        said: Option<&'b OwnedFd>,
    ) -> Result<Context<'b>> {
        Ok(Context {
            process: self.process()?,
            program: self.bundle.program(),
            root: Some(root),
            sysctls: &self.plan.sysctls,
            hooks: "createContainer",
            said: said.map(AsFd::as_fd),
        })
    }
}

/// The talk with the first process until it waits for its start.
struct Talk<'a> {
    ready: &'a Ready<'a>,
    record: &'a Record,
    root: &'a rootfs::Plan,
    child: &'a Child,
    /// The child waits for the first word.
    wait: bool,
}

impl Talk<'_> {
    /// Returns the terminal when nobody else got it, and the devices that were moved.
    fn lead(&self, files: &StateFiles) -> Result<(Option<OwnedFd>, Option<Moved>)> {
        let (plan, child) = (&self.ready.plan, self.child);
        let process = self.ready.process()?;
        let context = self.ready.context(self.root, files.create.as_ref())?;
        if let Some(socket) = &self.ready.pidfd {
            self.send_pidfd(socket)?;
        }
        if plan.namespaces.is_new(NamespaceKind::User) {
            mapping::write(child.pid, &plan.uids, &plan.gids)?;
        }
        if let Some(score) = process.oom_score {
            oom::set(child.pid, score)?;
        }
        if let Some(filter) = &self.ready.filter {
            filter.describe(child.pid, &self.ready.state(Status::Creating, child.pid))?;
        }
        if self.wait {
            child.go()?;
        }
        let (mut terminal, mut moved) = (None, None);
        loop {
            match child.hear(|fault| context.explain(fault))? {
                (Word::Mounted, _) => {
                    moved = crate::device::move_all(&plan.devices, child.pid)?;
                    self.run_hooks(files)?;
                    child.go()?;
                }
                (Word::Terminal, master) => terminal = master,
                (Word::Ready, _) => break,
                (Word::Go | Word::Failed(_), _) => {}
            }
        }
        if plan.namespaces.has(NamespaceKind::User) {
            for (index, (which, soft, hard)) in process.limits.iter().enumerate() {
                sys::set_limit(child.pid, *which, *soft, *hard).map_err(|errno| {
                    Error::errno(format!("process.rlimits[{index}]"), "prlimit", errno)
                })?;
            }
        }
        Ok((terminal, moved))
    }

    fn run_hooks(&self, files: &StateFiles) -> Result<()> {
        let (hooks, pid) = (&self.ready.plan.hooks, self.record.pid);
        if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
            // `prestart` is of the first specifications, where it was a part of `start`.
            let created = self.ready.state(Status::Created, pid);
            let creating = self.ready.state(Status::Creating, pid);
            for (kind, list, state) in [
                ("prestart", &hooks.prestart, &created),
                ("createRuntime", &hooks.create_runtime, &creating),
            ] {
                let file = hook::state_file(state)?;
                hook::run_all(list, file.as_fd())
                    .map_err(|fault| hook::explain(kind, fault, Some(file.as_fd())))?;
            }
        }
        // Hooks in the container are told the number that the process has there.
        let own = || pid::inside(pid).unwrap_or(pid);
        let fill = |file: &Option<OwnedFd>, status| match file {
            Some(file) => hook::fill_state(file, &self.ready.state(status, own())),
            None => Ok(()),
        };
        fill(&files.create, Status::Creating)?;
        fill(&files.start, Status::Created)
    }

    fn send_pidfd(&self, socket: &OwnedFd) -> Result<()> {
        let handle = pid::open(self.record.pid, self.record.start_time)?;
        let handle = handle.as_ref().map(AsFd::as_fd);
        sync::send(socket.as_fd(), b"pidfd", handle)
            .map_err(|errno| Error::errno("pidfd socket", "send", errno))
    }
}
