//! CNI 1.1.0 wire types: versions, names, errors, results, network configurations.
//!
//! Everything a plugin or a runtime reads or writes as JSON has its type here, for every
//! version of the specification from 0.1.0 to 1.1.0. The crate does no I/O.
//!
//! Results have one in-memory form, that of 1.1.0; [`CniResult::from_value`] raises an older
//! document to it and [`CniResult::to_value`] lowers it to the version a configuration asks for.

mod args;
mod config;
mod error;
mod folded;
mod lower;
mod name;
mod raise;
mod result;
mod version;

pub use args::Args;
pub use config::{Attachment, NetConf, decode, without_nulls};
pub use error::{Code, Error, Result};
pub use name::{ContainerId, IfName, NetworkName, PluginType};
pub use result::{CniResult, Dns, Interface, IpConfig, Route};
pub use version::{ALL_VERSIONS, Version};
