//! What pods and containers use: from control groups, from the pod's network namespace, and from
//! the books of the snapshotter.
//!
//! A call reads a few files of the kernel for each container and never walks a disk: the size of
//! writable layers is measured on a thread of its own, and a call tells the latest figure.
//!
//! What cannot be read is left out of the answer, never told as zero: a container may end between
//! two reads.

mod call;
mod describe;
mod files;
mod group;
mod layers;
mod metrics;
mod network;
mod pressure;
mod processes;
mod rate;
mod service;

pub use service::{Stats, counts};
