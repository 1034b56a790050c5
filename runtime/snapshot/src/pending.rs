//! A layer on its way: from an empty directory to a committed snapshot.

use crate::error::Error;
use crate::name::Name;
use crate::record::Info;
use crate::root::Root;
use layer::{Report, Whiteouts};
use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Names that somebody is making right now.
#[derive(Debug, Default)]
pub(crate) struct Making {
    names: Mutex<HashSet<Name>>,
    changed: Condvar,
}

/// The right to make one name; given back on drop.
#[derive(Debug)]
pub(crate) struct Turn {
    making: Arc<Making>,
    name: Name,
}

impl Making {
    fn lock(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody makes `name`, at most `wait`; `None` when somebody still does.
    pub(crate) fn turn(self: &Arc<Making>, name: &Name, wait: Duration) -> Option<Turn> {
        let end = Instant::now() + wait;
        let mut names = self.lock();
        while names.contains(name) {
            let left = end.checked_duration_since(Instant::now())?;
            let waited = self.changed.wait_timeout(names, left);
            names = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        names.insert(name.clone());
        Some(Turn { making: Arc::clone(self), name: name.clone() })
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.lock().is_empty()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.making.lock().remove(&self.name);
        self.making.changed.notify_all();
    }
}

/// The directory of a snapshot being made; removed on drop unless it became complete.
#[derive(Debug)]
pub(crate) struct NewDir {
    pub(crate) root: Arc<Root>,
    pub(crate) id: u64,
    pub(crate) dir: OwnedFd,
    pub(crate) complete: bool,
}

impl NewDir {
    pub(crate) fn make(root: &Arc<Root>) -> Result<NewDir, Error> {
        let (id, dir) = root.make()?;
        Ok(NewDir { root: Arc::clone(root), id, dir, complete: false })
    }
}

impl Drop for NewDir {
    fn drop(&mut self) {
        if !self.complete {
            // A failure leaves a leftover, which the next clean-up reports and removes.
            self.root.discard(self.id).ok();
        }
    }
}

/// What [`Snapshotter::begin`](crate::Snapshotter::begin) found.
#[derive(Debug)]
pub enum Begin {
    /// It is there: nothing to do.
    Have(Arc<Info>),
    /// The caller is the one to unpack it.
    Unpack(Pending),
}

/// A layer to be unpacked. Dropped before it is committed, everything unpacked is removed, and who
/// waits for the name gets its turn.
#[derive(Debug)]
pub struct Pending {
    pub(crate) new: NewDir,
    pub(crate) files: OwnedFd,
    pub(crate) name: Name,
    pub(crate) whiteouts: Whiteouts,
    pub(crate) turn: Turn,
}

impl Pending {
    /// The name it will have.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The empty directory to unpack into.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.files.as_fd()
    }

    /// The form of whiteouts that the backend reads.
    pub fn whiteouts(&self) -> Whiteouts {
        self.whiteouts
    }

    /// Unpacks `input` into it; `options.whiteouts` is set to what the backend reads.
    ///
    /// # Errors
    /// See [`layer::unpack`]. The right thing to do then is to drop this.
    pub fn unpack(
        &self,
        input: impl std::io::Read,
        expect: &layer::Expect,
        options: &layer::Options,
    ) -> Result<Report, Error> {
        let options = layer::Options { whiteouts: self.whiteouts, ..options.clone() };
        layer::unpack(input, self.dir(), expect, &options)
            .map_err(|e| Error::layer(&self.name, "unpack the layer", e))
    }

    /// Ready to be committed on `parent`, with what unpacking reported.
    pub fn on(self, parent: Option<Name>, report: Report) -> Commit {
        Commit { pending: self, parent, report, labels: BTreeMap::new() }
    }
}

/// An unpacked layer that is to become a committed snapshot.
#[derive(Debug)]
pub struct Commit {
    pub(crate) pending: Pending,
    /// What it is built on: committed already, or earlier in the same call.
    pub parent: Option<Name>,
    /// What unpacking reported.
    pub report: Report,
    /// Notes to keep with it.
    pub labels: BTreeMap<String, String>,
}
