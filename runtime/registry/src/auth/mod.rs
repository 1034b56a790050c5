//! Who may fetch: challenges, credentials, token services.
//!
//! A credential goes to the host it is for, and to a token service that this host's operator would recognise
//! as its own (see `realm`). Everything a registry says about where to authenticate is hostile until then.

pub mod challenge;
mod credentials;
mod docker;
mod helper;
pub(crate) mod realm;
pub(crate) mod token;

pub use credentials::{Credentials, Secret};
pub use docker::DockerConfig;
