//! Control groups of containers: v1, v2 and hybrid, made directly or by systemd.
//!
//! ```no_run
//! use cgroup::{Cgroup, Request};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), cgroup::Error> {
//! let made = Cgroup::create(&Request { path: Some("/pods/p1/c1"), ..Request::new("c1") })?;
//! made.apply(&runtime_spec::Resources::default())?;
//! let joiner = made.joiner()?;
//! // clone3 with joiner.clone_into(); the child calls joiner.join(true).
//! let group = made.keep();
//! let record = group.paths(); // to the state file; Cgroup::load(record) brings the group back
//! # let _ = (joiner, record);
//! group.kill(Duration::from_secs(10))?;
//! group.destroy(Duration::from_secs(2))
//! # }
//! ```
//!
//! Everything blocks, nothing starts a thread, and each call makes as few system calls as it can.

mod bpf;
mod convert;
mod devices;
mod dir;
mod ebpf;
mod error;
mod events;
mod group;
mod join;
mod layout;
mod path;
mod paths;
mod plan;
mod plan_v1;
mod plan_v2;
mod run;
pub mod stats;
mod step;
pub mod systemd;
mod tree;

pub use convert::{cpu_list, cpu_weight, io_weight, swap_max};
pub use error::{Error, Kind, Result};
pub use events::OomWatch;
pub use group::{Cgroup, Created, Driver, Request};
pub use join::Joiner;
pub use layout::{Hierarchy, Layout, Mode, Version};
pub use path::{RelPath, Unit};
pub use paths::{Paths, Place};
