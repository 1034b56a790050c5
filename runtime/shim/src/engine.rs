//! Who makes a container: the runtime that is linked, or a program.

use crate::error::{Result, io, of_runtime};
use crate::program::Program;
use cgroup::Cgroup;
use oci::{Bundle, ContainerId, CreateOptions, Created, Driver, ExecOptions, Streams};
use runtime_spec::{NamespaceKind, Process, Spec};
use rustix::fd::OwnedFd;
use serde_json::Value;
use shim_protocol::{BuiltIn, CgroupDriver, Create, Error, Kind, Runtime};
use std::path::Path;
use std::sync::Arc;

/// Names below the shim's directory: state of the linked runtime, of programs.
const BUILT_IN: &str = "oci";

/// A runtime. Its methods block.
#[derive(Clone)]
pub(crate) enum Engine {
    BuiltIn { runtime: oci::Runtime, settings: BuiltIn },
    Program(Arc<Program>),
}

/// A container that was made.
pub(crate) struct Made {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) warnings: Vec<String>,
    /// What the linked runtime needs to start it.
    pub(crate) waiting: Option<Box<Created>>,
    pub(crate) group: Option<Cgroup>,
}

/// A process that was added.
pub(crate) struct Added {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) terminal: Option<OwnedFd>,
}

/// What is read of a bundle before anything is made.
pub(crate) struct Read {
    bundle: Bundle,
    /// The first process's end does not end the others.
    pub(crate) shares_pids: bool,
}

impl Read {
    /// Reads the bundle of a container, which must have a terminal if and only if that is asked for.
    pub(crate) fn new(create: &Create) -> Result<Read> {
        let bundle = Bundle::open(&create.bundle).map_err(of_runtime)?;
        let terminal = bundle.spec.process.as_ref().is_some_and(|process| process.terminal);
        if terminal != create.stdio.terminal {
            let cause = format!("is {terminal}, and {} is asked for", create.stdio.terminal);
            return Err(Error::new(Kind::Invalid, "process.terminal", cause));
        }
        let shares_pids = !has_own_pids(&bundle.spec);
        Ok(Read { bundle, shares_pids })
    }
}

fn has_own_pids(spec: &Spec) -> bool {
    let namespaces = spec.linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
    namespaces.iter().any(|it| it.kind == NamespaceKind::Pid && it.path.is_none())
}

/// The name, if it is one.
pub(crate) fn name(id: &str) -> Result<ContainerId> {
    ContainerId::new(id).map_err(of_runtime)
}

impl Engine {
    pub(crate) fn new(dir: &Path, runtime: &Runtime) -> Engine {
        match runtime {
            Runtime::BuiltIn(settings) => {
                let driver = |driver| match driver {
                    CgroupDriver::Cgroupfs => Driver::Cgroupfs,
                    CgroupDriver::Systemd => Driver::Systemd,
                };
                let cgroups = settings.cgroups.map(driver);
                let runtime = oci::Runtime { root: dir.join(BUILT_IN), cgroups, rootless: false };
                Engine::BuiltIn { runtime, settings: settings.clone() }
            }
            Runtime::Program(settings) => Engine::Program(Arc::new(Program::new(dir, settings))),
        }
    }

    /// Makes a container.
    pub(crate) fn create(&self, id: &str, read: &Read, streams: Streams) -> Result<Made> {
        match self {
            Engine::BuiltIn { runtime, settings } => {
                let options = CreateOptions {
                    no_pivot: settings.no_pivot,
                    filters: settings.filters.clone(),
                    streams: Some(streams),
                    ..CreateOptions::default()
                };
                let id = name(id)?;
                taken(runtime.create(&id, &read.bundle, &options).map_err(of_runtime)?)
            }
            Engine::Program(program) => {
                let terminal = read.bundle.spec.process.as_ref().is_some_and(|it| it.terminal);
                program.create(id, &read.bundle.path, &streams, terminal)
            }
        }
    }

    pub(crate) fn start(&self, id: &str, waiting: Option<Box<Created>>) -> Result<()> {
        match (self, waiting) {
            (Engine::BuiltIn { .. }, Some(created)) => {
                created.start().map(drop).map_err(of_runtime)
            }
            (Engine::BuiltIn { .. }, None) => {
                Err(Error::new(Kind::Precondition, id, "was started already"))
            }
            (Engine::Program(program), _) => program.run(&["start", id]).map(drop),
        }
    }

    /// Adds a process; one with a terminal uses no streams.
    pub(crate) fn exec(&self, id: &str, process: &Value, streams: Streams) -> Result<Added> {
        match self {
            Engine::BuiltIn { runtime, settings } => {
                let text = process.to_string();
                let process =
                    Process::from_json(text.as_bytes()).map_err(|e| of_runtime(e.into()))?;
                let options = ExecOptions {
                    streams: Some(streams),
                    filters: settings.filters.clone(),
                    ..ExecOptions::default()
                };
                let container = runtime.load(&name(id)?).map_err(of_runtime)?;
                let mut added = container.exec(&process, &options).map_err(of_runtime)?;
                let terminal = added.take_terminal();
                let pidfd = added.take_pidfd().ok_or_else(|| no_handle(id))?;
                Ok(Added { pid: added.pid, pidfd, terminal })
            }
            Engine::Program(program) => program.exec(id, process, &streams),
        }
    }

    pub(crate) fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        match self {
            Engine::BuiltIn { runtime, .. } => {
                let container = runtime.load(&name(id)?).map_err(of_runtime)?;
                let sent = if all { container.kill_all(signal) } else { container.kill(signal) };
                sent.map_err(of_runtime)
            }
            Engine::Program(program) => {
                let signal = signal.to_string();
                let all = all.then_some("--all");
                let words: Vec<&str> =
                    ["kill"].into_iter().chain(all).chain([id, signal.as_str()]).collect();
                program.run(&words).map(drop)
            }
        }
    }

    pub(crate) fn delete(&self, id: &str, force: bool) -> Result<()> {
        match self {
            Engine::BuiltIn { runtime, .. } => match runtime.delete(&name(id)?, force) {
                Err(error) if error.kind == oci::Kind::NotFound => Ok(()),
                other => other.map_err(of_runtime),
            },
            Engine::Program(program) => program.delete(id, force),
        }
    }

    pub(crate) fn update(&self, id: &str, resources: &Value) -> Result<()> {
        match self {
            Engine::BuiltIn { runtime, .. } => {
                let resources = serde_json::from_value(resources.clone()).map_err(|error| {
                    Error::new(Kind::Invalid, "linux.resources", error.to_string())
                })?;
                let container = runtime.load(&name(id)?).map_err(of_runtime)?;
                container.update(&resources).map_err(of_runtime)
            }
            Engine::Program(program) => program.update(id, resources),
        }
    }

    pub(crate) fn freeze(&self, id: &str, freeze: bool) -> Result<()> {
        match self {
            Engine::BuiltIn { runtime, .. } => {
                let container = runtime.load(&name(id)?).map_err(of_runtime)?;
                let done = if freeze { container.pause() } else { container.resume() };
                done.map_err(of_runtime)
            }
            Engine::Program(program) => {
                program.run(&[if freeze { "pause" } else { "resume" }, id]).map(drop)
            }
        }
    }
}

fn no_handle(id: &str) -> Error {
    Error::new(Kind::Internal, id, "its process has no handle")
}

/// What the linked runtime gives of a container.
fn taken(mut created: Created) -> Result<Made> {
    let pid = created.pid();
    let handle = created.pidfd().ok_or_else(|| no_handle("container"))?;
    let pidfd = handle.try_clone_to_owned().map_err(|error| io("process", "dup", error))?;
    let terminal = created.take_terminal();
    let paths = created.container().cgroup().paths().clone();
    let group = (!paths.is_none()).then(|| Cgroup::load(paths));
    let warnings = created.warnings().to_vec();
    Ok(Made { pid, pidfd, terminal, warnings, waiting: Some(Box::new(created)), group })
}
