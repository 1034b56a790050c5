//! Containers of pods: from their CRI configuration to a process that runs, and its end.
//!
//! ```no_run
//! # async fn serve(
//! #     pods: sandbox::Sandboxes,
//! #     images: image::ImageService,
//! #     config: cri_api::v1::ContainerConfig,
//! # ) -> container::Result<()> {
//! use container::{Containers, Settings};
//! use std::time::Duration;
//!
//! let (containers, recovered) = Containers::open(Settings::default(), pods, images).await?;
//! println!("{} containers went on", recovered.running.len());
//! let id = containers.create("4f2a", config, None).await?;
//! containers.start(&id).await?;
//! let said = containers.exec_sync(&id, vec!["uptime".to_owned()], None).await?;
//! println!("{}", String::from_utf8_lossy(&said.stdout));
//! containers.stop(&id, Duration::from_secs(10)).await?;
//! containers.remove(&id).await
//! # }
//! ```
//!
//! # What is guaranteed
//! - **One container of a name.** Pod, name and attempt are reserved while the container is made and
//!   lives. A repeated [`Containers::create`] of the same configuration joins the one under way, or
//!   gets its container if nobody was told of it yet.
//! - **Callers may go away.** The work goes on, and so does the undoing of what failed.
//! - **Creation is answered when it is certain.** Everything was checked and written down then. The
//!   container's process is being made, and whoever needs it waits for it; when that fails,
//!   [`Containers::start`] tells why.
//! - **True ends.** A pod's shim records each end before it tells it, and keeps the record until the
//!   container is removed: what happened while no daemon was there is found at [`Containers::open`].
//! - **Crashes.** Before the first effect a record is written; whoever opens the directory next
//!   undoes containers that were half made, and goes on with those that were half removed.

mod apparmor;
mod attach;
mod cdi;
mod confine;
mod container;
mod containers;
mod devices;
mod distant;
mod end;
mod events;
mod exec;
mod exec_sync;
mod hooks;
mod make;
mod making;
mod node;
mod process;
mod record;
mod recover;
mod rootfs;
mod settings;
mod shared;
mod signal;
mod sources;
mod spec;
mod start;
mod streams;
mod update;
mod volumes;
mod watch;
mod wish;

pub use apparmor::DEFAULT_PROFILE;
pub use cdi::add_named_devices;
pub use container::{Container, Status};
pub use containers::{Containers, Recovered, Update};
pub use events::{Change, Event};
pub use hooks::{Adjusted, Hooks, NoHooks, Peer};
pub use process::{Attach, Exec, Output, Process, Reader, Resizer, Size, Writer};
pub use sandbox::{Error, Future, Kind, Result};
pub use settings::{Handler, Settings};
pub use shim_protocol::{Program, Runtime};
