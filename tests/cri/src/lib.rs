//! The CRI server's own suite: the real `podloomd` with its shim and plugins on a node made of
//! namespaces, asked by a gRPC client, with images from a registry on that node's loopback.
//!
//! [`Node`] is the machine, [`Client`] its kubelet. Everything a node makes goes away with it, the
//! control groups too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test's library fails the test"
)]

mod boot;
mod chance;
mod churn;
mod client;
mod configs;
mod node;
mod remains;
mod service;
mod way;

pub use chance::Chance;
pub use churn::{Done, Moments, churn};
pub use client::Client;
pub use configs::{container, host_network, labelled, pod, port};
pub use node::{BUSY, Node, daemon};
pub use service::{Service, UNIT};
pub use way::Way;
