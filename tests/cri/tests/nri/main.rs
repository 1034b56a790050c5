//! Plugins of the node resource interface: what they hear, what they change, and what bad ones can not do.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

mod bad;
mod good;
mod running;
