//! Seccomp profiles compiled to filters, kept, and installed.
//!
//! A profile is the `linux.seccomp` object of runtime-spec 1.3 (config-linux.md, Seccomp). What it
//! leaves open is decided as its users know it from other runtimes:
//!
//! - **Conditions.** All conditions of a rule must hold. Where a rule names one argument twice,
//!   each of its conditions counts as a rule of its own: any of them suffices.
//! - **Several rules for one call.** A rule without conditions beats those with conditions, and
//!   the first of such rules beats the others. Among rules with conditions the first that holds
//!   decides. A rule whose outcome is that of the default action is no rule.
//! - **Width.** 64-bit architectures compare 64 bits. On 32-bit ones (x32 too) the values and the
//!   arguments are cut to their lower 32.
//! - **Names** unknown here are skipped with a [`Warning`]; names that an architecture lacks are
//!   skipped there.
//! - **Newer calls.** Where the default action denies, and its error is not `ENOSYS`, a number above
//!   the highest that the profile names on an architecture fails with `ENOSYS`, so that programs
//!   fall back to older calls. On s390 and s390x call 0 does so too: it stands there for every
//!   number the kernel does not know.
//! - **Architectures.** The native one always counts. Those that this kernel family cannot run are
//!   skipped. Calls of any other, and calls with the x32 bit where x32 is not listed, kill the
//!   thread.
//! - **`socketcall` and `ipc`.** A rule for `socket`, `semop` and so on also counts for the same
//!   job done through these. Conditions cannot be checked there, because the arguments are in
//!   memory: a rule stricter than the default is taken to hold, a milder one is not.
//! - **`errnoRet`** with an action that takes none is refused, as the specification wants.

mod arch;
mod bpf;
mod cache;
mod compile;
mod emit;
mod error;
mod install;
mod key;
mod plan;
mod program;
mod table;

pub use arch::native;
pub use bpf::{Call, Insn};
pub use cache::Cache;
pub use compile::{compile, compile_for};
pub use error::{Error, Warning};
pub use install::install;
pub use program::{Listener, Program};
