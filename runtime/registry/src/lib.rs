//! Image references and the client of OCI registries.
//!
//! [`spec`] holds the documents of an image as types that cannot hold a bad one; [`Reference`] names an image;
//! [`Client`] fetches what a reference names, through the mirrors and with the credentials that the operator
//! configured in `certs.d/<host>/hosts.toml`. What comes from a registry is hostile until its digest has been
//! checked: sizes are bounded before they are read, and no answer chooses where a credential goes.
//!
//! Invariant: nothing here writes to disk, and no error, `Debug` output or log line holds a credential.

pub mod auth;
mod client;
pub mod error;
pub mod hosts;
pub mod reference;
pub mod spec;

pub use auth::Credentials;
pub use client::{Blob, Client, Config, Fetched, Image, Repository};
pub use error::{Error, Kind, Result};
pub use reference::Reference;
