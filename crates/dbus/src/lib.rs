//! Calls over D-Bus.
//!
//! The few kinds of messages that are needed are written and read here: a general D-Bus library is
//! larger than the programs that ask systemd or firewalld for something. A [`Connection`] blocks,
//! and has a deadline for all that is done with it.

mod connection;
mod error;
mod wire;

pub use connection::{Answer, Connection, system_bus, unix_path};
pub use error::{Error, Kind, Result};
pub use wire::{Call, Message, Out, Property, Value};
