//! A container, as the main thread has it.

use crate::copy::Copier;
use crate::engine::Engine;
use crate::work::Ticket;
use cgroup::{Cgroup, OomWatch};
use oci::Created;
use rustix::fd::OwnedFd;
use shim_protocol::{ContainerState, Exit, Phase};
use std::collections::BTreeMap;
use std::time::Instant;

/// A container that is being made, or was.
pub(crate) struct Container {
    pub(crate) engine: Engine,
    pub(crate) phase: Phase,
    /// Its first process; absent while it is made.
    pub(crate) first: Option<Process>,
    /// What the linked runtime needs to start it; absent once that was tried.
    pub(crate) waiting: Option<Box<Created>>,
    /// When its process was started, in nanoseconds since 1970; 0 before.
    pub(crate) started_at: i64,
    pub(crate) copier: Option<Copier>,
    /// Its terminal's master, for its size.
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) execs: BTreeMap<String, Option<Process>>,
    pub(crate) group: Option<Cgroup>,
    pub(crate) oom: Option<OomWatch>,
    /// The kernel killed for lack of memory.
    pub(crate) had_oom: bool,
    /// Its first process's end does not end the others.
    pub(crate) shares_pids: bool,
    /// Who waits for its removal, which was asked for while it is made.
    pub(crate) unwanted: Vec<Ticket>,
    /// Its end, recorded; told when its output is copied, or at a time.
    pub(crate) ended: Option<(Exit, Instant)>,
    /// Its end, told.
    pub(crate) exit: Option<Exit>,
}

/// A process of a container.
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Absent once it has ended.
    pub(crate) pidfd: Option<OwnedFd>,
}

impl Container {
    pub(crate) fn new(engine: Engine) -> Container {
        Container {
            engine,
            phase: Phase::Creating,
            first: None,
            waiting: None,
            started_at: 0,
            copier: None,
            terminal: None,
            execs: BTreeMap::new(),
            group: None,
            oom: None,
            had_oom: false,
            shares_pids: false,
            unwanted: Vec::new(),
            ended: None,
            exit: None,
        }
    }

    /// Whether a process of it may be there.
    pub(crate) fn is_alive(&self) -> bool {
        self.phase != Phase::Stopped
    }

    pub(crate) fn state(&self, id: &str) -> ContainerState {
        ContainerState {
            id: id.to_owned(),
            phase: self.phase,
            pid: self.first.as_ref().map_or(0, |first| first.pid),
            started_at: self.started_at,
            exit: self.exit.clone(),
            execs: self
                .execs
                .iter()
                .filter(|(_, process)| process.is_some())
                .map(|(name, _)| name.clone())
                .collect(),
            log_lost: self.copier.as_ref().map_or(0, Copier::lost),
        }
    }
}
