//! CNI configuration lists, plugin chains, result cache and garbage collection.
//!
//! This is the runtime's half of the Container Network Interface (CNI 1.1.0, sections 1 and 3):
//! what a container runtime calls to attach a container to the networks that an administrator
//! described in `/etc/cni/net.d`.
//!
//! ```no_run
//! # async fn attach() -> libcni::Result<()> {
//! use libcni::{Cni, Pod, Settings, load_network};
//!
//! let network = load_network("/etc/cni/net.d".as_ref(), "podnet")?;
//! let cni = Cni::new(Settings::default());
//! let pod = Pod::new("0123abcd", "eth0", "/run/netns/blue")?;
//! let added = cni.add(&network, &pod).await?;
//! println!("{:?}", added.result.ips);
//! cni.check(&network, &pod).await?;
//! cni.del(&network, &pod).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is guaranteed
//! - **Records.** When [`Cni::add`] returns, its record in the cache directory has been synced
//!   (the file, then its directory), unless [`Settings::records`] says that it need not be: it is
//!   there, whole, after a loss of power. It has the reference library's format, so that either
//!   library can detach what the other attached.
//! - **Intents.** Before the first plugin runs, the attachment and its configuration are written
//!   to the run directory. If the caller is killed, the next ADD, DEL or GC of the attachment
//!   ends plugins that still run for it, and detaches it. The run directory is in memory: this
//!   costs no sync, and ends with the boot as the kernel's objects do.
//! - **Deadlines.** Each call of a plugin has its own. At its end the plugin is killed with its
//!   children, and named in the error. Undoing a failed ADD never uses up the caller's time.
//! - **Exclusion.** See [`Cni`].
//!
//! Every [`Error`] names network, plugin and verb as far as they are known.

mod add;
mod ask;
mod atomic;
mod cache;
mod cni;
mod del;
mod derive;
mod error;
mod gc;
mod intent;
mod invoke;
mod list;
mod load;
mod lock;
mod pod;
mod process;
mod record;
mod settings;
mod tree;

pub use add::Added;
pub use ask::Validated;
pub use cache::DEFAULT_CACHE_DIR;
pub use cni::{Cni, Listing};
pub use cni_exec::{Output, Verb};
pub use del::Detached;
pub use error::{Error, Kind, Result};
pub use gc::{Collected, Valid};
pub use invoke::{CallBegun, CallReport, Invocation, Invoke, InvokeFuture, Observe};
pub use list::{NetworkList, PluginConf};
pub use load::{ConfFile, DEFAULT_CONF_DIR, load_dir, load_file, load_network};
pub use pod::Pod;
pub use process::Programs;
pub use record::{Entry, Record};
pub use settings::{DEFAULT_PLUGIN_DIR, Records, Settings};
