//! A compiled filter.

use crate::bpf::{self, Call, Insn};
use crate::error::Warning;
use crate::plan::flag;
use runtime_spec::Seccomp;
use std::path::PathBuf;

/// A filter ready to be installed, with what its user must know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(crate) insns: Vec<Insn>,
    pub(crate) flags: u32,
    pub(crate) listener: Option<Listener>,
    pub(crate) warnings: Vec<Warning>,
}

/// The agent that answers notifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its socket (`listenerPath`).
    pub path: PathBuf,
    /// What it is told beside the container's state (`listenerMetadata`).
    pub metadata: Option<String>,
}

impl Listener {
    /// The listener of a profile, if a rule uses it.
    pub(crate) fn of(profile: &Seccomp, listens: bool) -> Option<Self> {
        let path = profile.listener_path.clone().filter(|_| listens)?;
        Some(Self { path, metadata: profile.listener_metadata.clone() })
    }
}

impl Program {
    /// The instructions.
    #[must_use]
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// The agent to hand the descriptor of [`crate::install()`] to; none if no rule notifies.
    #[must_use]
    pub fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// What the operator should be told.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The `SECCOMP_FILTER_FLAG_*` that it is installed with.
    #[must_use]
    pub const fn flags(&self) -> u32 {
        self.flags
    }

    /// Whether installing yields a descriptor for notifications.
    #[must_use]
    pub const fn listens(&self) -> bool {
        self.flags & flag::NEW_LISTENER != 0
    }

    /// Whether the kernel would take the filter: at most 4096 known instructions, jumps and loads
    /// inside, an end on every path.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        bpf::check(&self.insns)
    }

    /// The `SECCOMP_RET_*` of a call, found as the kernel would; none if it is not sound.
    #[must_use]
    pub fn verdict(&self, call: &Call) -> Option<u32> {
        bpf::run(&self.insns, call)
    }
}
