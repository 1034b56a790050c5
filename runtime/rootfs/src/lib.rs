//! A container's file system: planned by its parent, mounted by itself.
//!
//! - [`Plan::new`] turns a configuration into steps, with every text the kernel will get. It is
//!   pure, so what is wrong is known before anything exists.
//! - [`Plan::prepare`] opens, with the host's rights, what the child will not be able to.
//! - [`Plan::mount`], [`Mounted::pivot`] and [`Mounted::finish`] run in the container's first
//!   process, as a rule alone in its mount namespace. They make system calls only, so that process
//!   may be a copy of a threaded one. A [`Failure`] is plain data; [`Plan::explain`] gives its words.
//!
//! What is inside the container is found with openat2(2) from its root and from then on known by its
//! descriptor: no path is walked twice, and none leads out. Mounts are made detached and complete,
//! then attached to such a descriptor (open_tree, fsmount, mount_setattr, move_mount).
//!
//! A container without a mount namespace of its own has its mounts below its root, which
//! [`uncover`] takes away.
//!
//! Order: `mount`, hooks of the runtime and the container, kernel parameters through
//! [`Mounted::proc`], the console, `pivot`, `finish`. Linux 5.10 is enough; idmapped mounts and
//! recursive attributes need 5.12.

mod attributes;
mod cover;
mod error;
mod explain;
mod failure;
mod mounted;
mod options;
mod plan;
mod prepare;
mod proc;
mod resolve;
mod situation;
mod sys;
mod userns;

pub use cover::uncover;
pub use error::{Error, ErrorKind};
pub use failure::{Call, Failure, Stage};
pub use mounted::Mounted;
pub use plan::Plan;
pub use prepare::Prepared;
pub use proc::ProcHandle;
pub use situation::{Cgroups, Hierarchy, Situation};
