//! The configuration, state and features of OCI runtime-spec 1.3 as types. No I/O.
//!
//! The types say what a document may hold; what a value means, and whether this host can do it,
//! is for the crates that act on it.

mod config;
mod features;
mod linux;
mod parse;
mod process;
mod resources;
mod seccomp;
mod state;
mod wire;

pub use config::*;
pub use features::*;
pub use linux::*;
pub use parse::*;
pub use process::*;
pub use resources::*;
pub use seccomp::*;
pub use state::*;

/// The newest version of the specification that is understood.
pub const VERSION: &str = "1.3.0";

/// The oldest version of the specification that is understood.
pub const VERSION_MIN: &str = "1.0.0";
