//! The frame that every CNI plugin runs in.
//!
//! A plugin is a type with five verbs, [`Plugin`]; [`run`] is its whole `main`. The frame reads
//! the environment and standard input, validates all of it before the plugin has any effect,
//! answers VERSION, and prints the result in the version that the configuration asks for, or
//! one error document.
//!
//! Invariant: a plugin never writes to standard output, and never sees an invalid name.

mod call;
pub mod delegate;
mod frame;
pub mod ipam;
mod known;
mod log;
pub mod owner;
mod undo;
pub mod verify;

pub use call::{Call, NodeCall};
pub use frame::{Plugin, run};
pub use known::Known;
pub use log::log;
pub use owner::{Gate, Owner};
pub use undo::Undo;
