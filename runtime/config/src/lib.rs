//! The daemon's configuration: one file and drop-ins beside it.
//!
//! [`Config::load`] reads `config.toml`, then each `*.toml` of `config.d` by name; a later file wins,
//! key by key, and lists are replaced as a whole. Each file is checked for itself, so that a mistake
//! is told with its file and line. Keys that do not exist are mistakes: a setting that is not in
//! force must not look as if it were.
//!
//! Only the daemon links this crate: it turns the sections into the settings of the rooms.

mod duration;
mod error;
mod load;
mod nri;
mod sections;

pub use duration::Time;
pub use error::{Error, Result};
pub use load::{DEFAULT_FILE, DEFAULT_TEXT};
pub use nri::{Nri, RefusedAdjustment};
pub use sections::{
    CgroupDriver, Config, Containers, Files, Images, Log, LogFormat, Metrics, Network, Rlimit,
    Runtime, Server, Streaming, Tls, Tracing,
};
