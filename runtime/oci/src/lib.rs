//! An OCI runtime (runtime-spec 1.3) as a library, and podloom-oci, its program.
//!
//! [`Runtime`] is the door: [`Runtime::create`] makes a container from a [`Bundle`] and gives a
//! [`Created`], whose `start` gives a [`Running`]; [`Runtime::load`] finds one that another program
//! made. Everything blocks and nothing needs an async runtime.
//!
//! The configuration is checked as a whole before there is any effect. The first process is made by
//! one clone3(2), and does the rest by system calls alone; see `child`. It waits for its start on
//! a socket in the state directory, so `create` and `start` may be different programs, and `start`
//! hears whether the program was executed.
//!
//! A program that links this library and runs containers with its own PID namespaces shared
//! (joined by path, `exec`) becomes non-dumpable, so that they cannot look into it.

mod bundle;
mod capability;
mod child;
mod container;
mod create;
mod delete;
mod device;
mod error;
mod exec;
mod explain;
mod features;
mod filter;
mod grant;
mod group;
mod hold;
mod hook;
mod id;
mod launch;
mod mapping;
mod namespace;
mod netlink;
mod oom;
mod pid;
mod plan;
mod process;
mod rdt;
pub mod signals;
mod state;
mod streams;
mod sync;
mod sys;
mod sysctl;

pub use bundle::Bundle;
pub use cgroup::Driver;
pub use container::{Container, Created, Running};
pub use create::CreateOptions;
pub use error::{Error, Kind, Result};
pub use exec::{ExecOptions, Executed};
pub use features::features;
pub use hold::{HeldNamespaces, NewNamespaces, set_sysctls};
pub use id::ContainerId;
pub use plan::check;
pub use streams::Streams;
pub use sys::forget_program;

use std::path::PathBuf;

/// Where containers are kept, and how their control groups are made.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Directory of the containers' state.
    pub root: PathBuf,
    /// Who makes control groups; nobody when absent.
    pub cgroups: Option<Driver>,
    /// Whether the caller lacks root's rights: groups that cannot be made are then left out.
    pub rootless: bool,
}
