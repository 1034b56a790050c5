//! Pod sandboxes: namespaces, network, files, state.
//!
//! ```no_run
//! # async fn serve(config: cri_api::v1::PodSandboxConfig) -> sandbox::Result<()> {
//! use sandbox::{Sandboxes, Settings};
//!
//! let settings = Settings::new("/usr/libexec/podloom/podloom-shim".into());
//! let (pods, recovered) = Sandboxes::open(settings).await?;
//! println!("{} pods are running", recovered.ready.len());
//! let id = pods.run(config, "").await?;
//! println!("{:?}", pods.get(&id)?.network().ips);
//! pods.stop(&id).await?;
//! pods.remove(&id).await
//! # }
//! ```
//!
//! # What is guaranteed
//! - **One pod of a name.** Name, namespace, uid and attempt are reserved while the pod is made and
//!   lives. A repeated [`Sandboxes::run`] of the same configuration joins the one under way, or gets
//!   its pod if nobody was told of it yet.
//! - **Callers may go away.** The work goes on; so does the undoing of what failed, with deadlines
//!   of its own.
//! - **Crashes.** Before the first effect a record is written; whoever opens the directory next
//!   undoes pods that were half made. After a boot all pods are not ready, and what they held of
//!   the network is freed.
//! - **No pod waits for another's plugin.**

mod asked;
pub mod boot;
mod conf;
pub mod disk;
mod end;
mod error;
mod events;
mod files;
mod hooks;
mod make;
pub mod names;
mod namespaces;
mod network;
mod plumbing;
mod ready;
mod record;
mod recover;
mod sandbox;
mod sandboxes;
mod settings;
mod space;
mod stage;
mod watch;
mod wish;

pub use cgroup::Driver as CgroupDriver;
pub use error::{Error, Kind, Result};
pub use events::{Change, Event, now};
pub use hooks::{Future, Hooks, NoHooks};
pub use namespaces::{IdRange, Namespaces, Pid, User};
pub use network::{Attached, Network};
pub use sandbox::{Files, Sandbox, State};
pub use sandboxes::{Recovered, Sandboxes, Update, blocking};
pub use settings::{Handler, Networks, Settings};
