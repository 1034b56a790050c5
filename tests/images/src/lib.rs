//! Images, a registry and a faulty network, for tests.
//!
//! [`Layer`] and [`Image`] build images in memory without other programs, also such as no tool
//! would build. [`Registry`] runs Debian's `docker-registry` on loopback with TLS and a password.
//! [`Proxy`] stands before it and cuts, stalls, corrupts, delays and throttles.
//!
//! All of it ends and is removed on drop. Failing is done by panic, because a test's library fails
//! the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's library fails the test"
)]

mod gallery;
mod http;
mod image;
mod layer;
mod layout;
mod proxy;
mod registry;
mod scratch;

pub use gallery::{bulk, every_kind, many_layers, small};
pub use http::{Answer, request};
pub use image::{Image, Index, Style};
pub use layer::{Layer, Packing};
pub use layout::{write_docker_archive, write_layout, write_oci_archive};
pub use proxy::{Fault, Proxy};
pub use registry::Registry;
pub use scratch::Scratch;
