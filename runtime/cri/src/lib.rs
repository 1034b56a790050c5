//! The CRI's services, one file for each call: they ask the rooms below and describe what those say
//! in the CRI's messages. The only room, beside the daemon, that knows gRPC.
//!
//! # What is guaranteed
//! - **Callers may go away.** Pods, containers and their ends are work of the rooms below, which go
//!   on without the caller; a pull goes on for [`Settings::pull_linger`]. The same request joins.
//! - **One map of failures**: `status.rs`. Removing what does not exist succeeds; asking for it is
//!   `NOT_FOUND`; an image that is not there is an empty answer.
//! - **Ids may be short** wherever one is asked for, as long as only one begins so.
//! - **Events are complete or the stream ends.** Each has a snapshot of its pod and the pod's
//!   containers; a client that is too slow for them gets `DATA_LOSS` and lists anew.

mod describe;
mod events;
mod filter;
mod image;
mod kernel;
mod measure;
mod names;
mod node;
mod runtime;
mod spliced;
mod status;
mod streaming;
mod streams;

pub use node::{Cri, Parts, Settings};
pub use spliced::RuntimeService;
