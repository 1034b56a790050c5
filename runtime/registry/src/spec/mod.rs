//! The documents of an image: descriptors, manifests, indexes, configurations (image-spec 1.1, Docker schema 2).
//!
//! Each type is parsed once and is valid from then on; what this runtime does not run safely is refused while
//! parsing. Nothing here does I/O.

mod config;
mod descriptor;
mod digest;
mod document;
mod media_type;
mod platform;
mod user;

pub use config::{ContainerConfig, History, ImageConfig};
pub use content_digest::{Algorithm, Digest, DigestError};
pub use descriptor::{Annotations, Descriptor};
pub use digest::Verifier;
pub use document::{Document, Index, MAX_CONFIG, MAX_INDEX_DEPTH, MAX_MANIFEST, Manifest};
pub use media_type::{Compression, MediaType};
pub use platform::Platform;
pub use user::{Principal, User};
