//! Containers on a real kernel, with a real shim and images that are made here.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod commands;
mod crash;
mod files;
mod hooked;
mod hostile;
mod life;
mod limits;
mod making;
mod many;
mod stage;
mod who;
