//! What can be wrong with a profile.

use runtime_spec::{SeccompAction, SeccompArch};
use std::path::PathBuf;

/// A profile that cannot become a filter. The texts name the key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An error number where the action takes none.
    #[error("{subject}: {} takes no errnoRet; remove it", .action.name())]
    ErrnoNotTaken {
        /// The rule or the default action.
        subject: String,
        /// The action.
        action: SeccompAction,
    },
    /// An error number out of range.
    #[error("{subject}: errnoRet {value}: want at most {max}")]
    ErrnoTooLarge {
        /// The rule or the default action.
        subject: String,
        /// The number as given.
        value: u32,
        /// The largest that the kernel takes.
        max: u32,
    },
    /// An argument that system calls do not have.
    #[error("{subject}: argument {index}: system calls have arguments 0 to 5")]
    ArgumentIndex {
        /// The rule.
        subject: String,
        /// The argument as given.
        index: u32,
    },
    /// A rule with an empty name.
    #[error("{subject}: an empty name")]
    EmptyName {
        /// The rule.
        subject: String,
    },
    /// Every call would wait for the agent, the ones that reach the agent too.
    #[error("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default action")]
    NotifyDefault,
    /// The runtime itself needs this call after the filter is installed.
    #[error("{subject}: SCMP_ACT_NOTIFY cannot be used for the {name} syscall")]
    NotifyRefused {
        /// The rule.
        subject: String,
        /// The call.
        name: String,
    },
    /// Calls would wait for an agent that does not exist.
    #[error("linux.seccomp.listenerPath: missing, but {subject} uses SCMP_ACT_NOTIFY")]
    ListenerMissing {
        /// The rule.
        subject: String,
    },
    /// The kernel takes no filter of this length.
    #[error(
        "linux.seccomp: the filter has {length} instructions, the kernel takes 4096; use fewer rules with args"
    )]
    TooLong {
        /// Instructions.
        length: usize,
    },
    /// No table of system calls for this architecture.
    #[error("linux.seccomp: no system calls known for {}", .0.name())]
    Architecture(SeccompArch),
    /// This program was built for an architecture without a table.
    #[error("linux.seccomp: no system calls known for this machine")]
    Machine,
}

/// What the operator should know, though the filter was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// The profile names a call that no architecture has, or that is newer than this program.
    #[error("linux.seccomp: system call {0} is not known; its rules are ignored")]
    UnknownCall(String),
    /// The profile was compiled anew, because the kept filter could not be used.
    #[error("seccomp cache {}: {cause}; the profile was compiled anew", .path.display())]
    Cache {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}
