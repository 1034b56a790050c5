//! The daemon's side of a shim: spawn one, attach to one that runs, ask it.
//!
//! [`Shim`] is the door, and cheap to clone. Its methods are one operation of the protocol each; a
//! caller that drops one leaves the operation to go on in the shim. A shim that is gone, or goes while
//! it is asked, gives [`Kind::Unavailable`] at once; its containers are then to be killed by their
//! control groups, and what it recorded is in [`exits`]. Deadlines are the caller's.

mod connection;
mod events;
mod execution;
mod program;
mod records;
mod shim;
mod spawn;

pub use events::Events;
pub use execution::{Execution, resize};
pub use records::{exits, unpin};
pub use shim::{Descriptors, Shim};
pub use shim_protocol as protocol;
pub use shim_protocol::{Error, Kind};
pub use spawn::Spawn;

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A kernel's answer as a failure.
fn io(subject: impl Into<String>, what: &str, error: impl Into<std::io::Error>) -> Error {
    Error::new(Kind::Io, subject, format!("{what}: {}", error.into()))
}

/// What everybody hears who asks a shim that is gone.
fn gone(subject: impl Into<String>) -> Error {
    Error::new(Kind::Unavailable, subject, "the shim is gone")
        .advise("its containers are lost; stop the pod and make it anew")
}
