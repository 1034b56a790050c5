//! Snapshots of file systems made of layers.
//!
//! A [`Snapshotter`] keeps layers that were unpacked (committed, each on its parent), and makes
//! from a chain of them what a container sees: an active snapshot to write to, or a view to read.
//! There are two backends with the same directories and rules:
//!
//! - [`Overlay`]: layers are mounted over each other by the kernel. Each layer is unpacked into a
//!   directory of its own, so layers of one image unpack at the same time.
//! - [`Native`]: every active snapshot and view is a copy. Slow and large, for file systems and
//!   machines where an overlay cannot be.
//!
//! ```text
//! ROOT/lock             held (flock) by the one process that uses ROOT
//! ROOT/snapshots/ID/    complete: record.json, fs/, work/
//! ROOT/new/ID/          being made; a leftover after a crash
//! ROOT/trash/ID/        removed, its files are going; after a crash, once ROOT is opened again
//! ROOT/empty/           an empty layer
//! ```
//! A snapshot becomes complete by one rename after everything in it was synced, so a crash at any
//! point leaves complete snapshots and leftovers that [`Snapshotter::cleanup`] removes. Records are
//! read once when the root is opened; listing and usage come from memory.

mod backend;
mod copy;
mod error;
mod idmap;
mod implied;
mod merge;
mod mount;
mod name;
mod native;
mod overlay;
mod pending;
mod record;
mod root;
mod snapshots;
mod sub_path;
mod sweep;

pub use backend::{Backend, Chain};
pub use error::{Error, Kind};
pub use layer::IdRange;
pub use merge::copy_directory;
pub use mount::{Layers, Mount};
pub use name::Name;
pub use native::Native;
pub use overlay::Overlay;
pub use pending::{Begin, Commit, Pending};
pub use record::{Ids, Info, SnapshotKind};
pub use snapshots::{Cleaned, Snapshots, Snapshotter, Spec};
pub use sub_path::{sub_path, sub_path_mount};
