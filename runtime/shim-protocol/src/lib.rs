//! What the daemon and a shim say to each other, and how it goes over a socket ([`wire`]).
//!
//! They speak over a stream socket, `<dir>/shim.sock`. A frame is its length (u32, little endian) and
//! that many bytes of JSON ([`frame`]). Descriptors travel by `SCM_RIGHTS` with the first bytes of a
//! frame, which says how many of them are its own.
//!
//! The daemon begins with [`Call::Hello`], and the shim chooses the [version](VERSIONS) both know.
//! Then there may be any number of [requests](Request) in flight, each answered once by a
//! [`Reply`] of its number, in any order; [events](Event) come between them.
//!
//! The two may be of different releases, because a shim outlives the daemon that started it. What one
//! side does not know it ignores; a call that the shim does not know fails as
//! [`Kind::Unsupported`]. A new field therefore has a default with the meaning that it had before.

mod call;
mod error;
mod event;
pub mod frame;
mod namespaces;
mod reply;
mod start;
pub mod wire;

pub use call::{Call, Request, Size, Whom};
pub use error::{Error, Kind};
pub use event::{Event, Exit, Message};
pub use namespaces::{IdMapping, IdMappings, MakeNamespaces, Namespace, Namespaces};
pub use reply::{Answer, ContainerState, Created, Executed, Phase, Reply, Shim};
pub use start::{
    Attach, BuiltIn, CgroupDriver, Create, Exec, Log, Program, Runtime, Stdio, Streams,
};

/// Versions of the protocol that this crate speaks, newest first.
pub const VERSIONS: [u32; 1] = [1];

/// Longest frame, in bytes; a longer one is an error of its sender.
pub const FRAME_MAX: usize = 16 << 20;

/// Most descriptors with one frame.
pub const DESCRIPTORS_MAX: usize = 4;

/// The socket, below a shim's directory.
pub const SOCKET: &str = "shim.sock";

/// What the shim has to say of itself, below its directory.
pub const LOG: &str = "shim.log";

/// Directory of exits, below a shim's directory: a file of one [`Exit`] in JSON for each container,
/// with the container's name.
pub const EXITS: &str = "exits";

/// Directory of pinned namespaces, below a shim's directory.
pub const NAMESPACES: &str = "ns";

#[cfg(test)]
mod tests;
