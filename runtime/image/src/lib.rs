//! Images of this node: pulled, imported, exported, found, removed.
//!
//! An [`ImageService`] ties a registry client, a content store and a snapshotter together:
//!
//! ```no_run
//! # async fn example() -> Result<(), image::Error> {
//! let service = image::ImageService::open(image::Settings::below("/var/lib/podloom".as_ref()))?;
//! let pulled = service.pull(image::Pull::new("docker.io/library/alpine:3")?).await?;
//! println!("{} {}", pulled.id, pulled.size);
//! # Ok(()) }
//! ```
//!
//! Layers of one image come in side by side; each is hashed, kept, decompressed and unpacked in
//! one pass into a directory of its own. Nothing is known of the image before all of it is
//! durable: first the layers' snapshots, with one sync of the file system, then the image's record
//! and the metadata. Requests for the same image join; a blob is fetched once whoever asks; a
//! pull whose last waiter is gone stops, and what came goes on from there the next time.
//!
//! What a manifest, configuration, layer or archive says is hostile until it was checked.

mod ahead;
mod archive;
mod catalog;
mod error;
mod fetch;
mod inspect;
mod intake;
mod names;
mod plan;
mod progress;
mod pull;
mod remembered;
mod remove;
mod service;
mod threads;
mod transfer;

pub use archive::{Form, fuzz_archive};
pub use catalog::Catalog;
pub use error::{Error, Kind, Result};
pub use inspect::Details;
pub use names::Summary;
pub use progress::{LayerReport, LayerStage, Progress, Report, Stage};
pub use pull::{Pull, Pulling};
pub use registry::spec::{
    ContainerConfig as ContainerDefaults, ImageConfig, Platform, Principal, User,
};
pub use registry::{Config as RegistryConfig, Credentials, Error as ReferenceError, Reference};
pub use remove::{Pruned, Removal};
pub use service::{Counters, ImageService, Settings};
pub use store::{Digest, Image, Lease, Name, Space, Usage};
pub use transfer::{Export, Import};

use std::sync::Arc;

/// The snapshotter that layers are unpacked to.
pub type Layers = Arc<dyn snapshot::Snapshotter>;

/// Work that blocks, on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

fn ended(e: tokio::task::JoinError) -> Error {
    Error::new(Kind::Io, "a thread", format!("ended without an answer: {e}"))
}
