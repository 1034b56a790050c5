//! Content and metadata of images, durable by default.
//!
//! A [`Store`] is one directory:
//!
//! | path | holds |
//! |---|---|
//! | `blobs/<algorithm>/<hex>` | content, named by its digest |
//! | `ingest/` | downloads that are not whole yet, each resumable |
//! | `records/<hex>.json` | one small file an image, from which the database can be rebuilt |
//! | `meta.redb` | images, their names, blobs, unpacked layers, leases, disk usage |
//! | `trash/` | what is being deleted |
//! | `lock` | locked by the one process that has the store open, and names it; shared by those who list |
//!
//! **What is durable how.** Content is written and renamed into place first, unknown to the
//! database. [`Store::commit`] then makes everything durable with one `syncfs` a file system,
//! writes the image's record (synced, renamed, directory synced), and only then commits the
//! metadata. A power cut at any point leaves either no image, with strays that are adopted by the
//! next pull or swept, or the whole image. Content is never believed for its name: a blob that the
//! database does not know is hashed before it is used, and a blob that it knows is hashed on its
//! first use after each boot.
//!
//! **What keeps content.** Images, leases (durable, for containers) and holds (in memory, for work
//! under way). [`Store::collect`] removes the rest.

mod blob;
mod collect;
mod disk;
mod error;
mod hold;
mod images;
mod ingest;
mod lease;
mod meta;
mod model;
mod record;
mod rest;
mod rows;
mod store;
mod usage;

pub use blob::Blob;
pub use collect::{Collected, Strays, Unpacked};
pub use content_digest::{Algorithm, Digest, DigestError, Hasher};
pub use error::{Error, Result};
pub use hold::Hold;
pub use images::{Commit, Removed};
pub use ingest::Ingest;
pub use lease::Lease;
pub use model::{Contents, Image, Manifest, Name, Space};
pub use store::Store;
pub use usage::Usage;
