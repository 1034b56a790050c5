//! What differs between the backends.

use crate::error::Error;
use crate::mount::Mount;
use crate::record::Info;
use crate::root::Root;
use layer::Whiteouts;
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// Committed snapshots from the top one down, each with its directory.
///
/// It ends at the bottom, or at a layer that hides everything beneath.
#[derive(Debug, Clone)]
pub struct Chain {
    pub(crate) layers: Vec<(Arc<Info>, PathBuf)>,
}

impl Chain {
    /// How many layers show.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

/// A way to make one file system of a chain of layers.
///
/// Only this crate implements it: the methods take what is private to it.
#[expect(private_interfaces, reason = "sealed: implemented in this crate only")]
pub trait Backend: Debug + Send + Sync + Sized {
    /// Looks whether `root` and this machine can do it.
    ///
    /// # Errors
    /// [`Kind::Unsupported`](crate::Kind::Unsupported) with the reason.
    fn probe(root: &Root) -> Result<Self, Error>;

    /// The form of whiteouts it reads.
    fn whiteouts(&self) -> Whiteouts;

    /// Fills the new directory `dir` (with `fs` in it) of the snapshot `info` upon `chain`.
    ///
    /// # Errors
    /// The kernel refused something.
    fn fill(&self, root: &Root, dir: &NewSnapshot<'_>, chain: &Chain) -> Result<(), Error>;

    /// How the active snapshot or view `info` is mounted.
    fn mount(&self, root: &Root, info: &Info, chain: &Chain) -> Mount;
}

/// The directory of an active snapshot or view that is being made.
#[derive(Debug)]
pub(crate) struct NewSnapshot<'a> {
    pub(crate) info: &'a Info,
    pub(crate) dir: &'a OwnedFd,
    pub(crate) files: &'a OwnedFd,
}
