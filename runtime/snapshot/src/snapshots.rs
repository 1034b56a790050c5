//! The snapshotter: names, chains, and the steps by which they come and go.

use crate::backend::{Backend, Chain, NewSnapshot};
use crate::error::{Error, Kind};
use crate::implied;
use crate::mount::Mount;
use crate::name::Name;
use crate::pending::{Begin, Commit, Making, NewDir, Pending};
use crate::record::{self, Ids, Info, SnapshotKind};
use crate::root::Root;
use crate::sweep;
use layer::{RelativePath, Usage};
use rustix::fs::{Mode, OFlags, open, openat};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An active snapshot or view to be made.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name.
    pub name: Name,
    /// What it is built on; nothing for an empty one.
    pub parent: Option<Name>,
    /// [`SnapshotKind::Active`] or [`SnapshotKind::View`].
    pub kind: SnapshotKind,
    /// The caller's notes.
    pub labels: BTreeMap<String, String>,
    /// Ids that its files shall be mapped to.
    pub ids: Option<Ids>,
}

/// What a clean-up did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Leftovers that were removed.
    pub removed: u64,
    /// Snapshots whose record or parent was lost: their numbers.
    pub broken: Vec<u64>,
}

/// Layers and what is made of them. All calls block, and may come from any thread.
pub trait Snapshotter: Debug + Send + Sync {
    /// Asks for the right to unpack the layer `name`. When somebody is at it, waits for the end of
    /// that, at most `wait`. Who needs several layers begins them from the base up.
    ///
    /// # Errors
    /// [`Kind::InUse`] when the wait was too long; [`Kind::Exists`] when the name is a container's.
    fn begin(&self, name: &Name, wait: Duration) -> Result<Begin, Error>;

    /// Makes unpacked layers durable and complete, those of one image in one call: their file
    /// system is synced once. Bases stand before what is built on them.
    ///
    /// # Errors
    /// A parent is missing, or the kernel refused something; those before are complete, the
    /// others are removed.
    fn commit(&self, layers: Vec<Commit>) -> Result<Vec<Arc<Info>>, Error>;

    /// Makes an active snapshot or a view. It is not synced: a power cut may take it back.
    ///
    /// # Errors
    /// [`Kind::Exists`], [`Kind::NotFound`] for the parent, or the kernel refused something.
    fn prepare(&self, spec: &Spec) -> Result<Arc<Info>, Error>;

    /// How an active snapshot or a view is mounted.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or [`Kind::Invalid`] for a committed snapshot.
    fn mount(&self, name: &Name) -> Result<Mount, Error>;

    /// Removes a snapshot; that it is not there is a success. Its files go soon after, beside the
    /// caller. What is mounted of it elsewhere goes on until it is unmounted.
    ///
    /// # Errors
    /// [`Kind::InUse`] when others are built on it.
    fn remove(&self, name: &Name) -> Result<(), Error>;

    /// What is known of a snapshot.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    fn stat(&self, name: &Name) -> Result<Arc<Info>, Error>;

    /// What a snapshot takes by itself: known for committed ones, walked for others.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or it cannot be read.
    fn usage(&self, name: &Name) -> Result<Usage, Error>;

    /// All snapshots by name.
    fn list(&self) -> Vec<Arc<Info>>;

    /// Removes what a crash left, and waits for files that are going. Nothing may be in the making.
    ///
    /// # Errors
    /// [`Kind::InUse`] when something is; or the kernel refused something.
    fn cleanup(&self) -> Result<Cleaned, Error>;
}

/// A snapshotter with the backend `B`.
#[derive(Debug)]
pub struct Snapshots<B> {
    root: Arc<Root>,
    backend: B,
    index: RwLock<BTreeMap<Name, Arc<Info>>>,
    broken: RwLock<Vec<u64>>,
    making: Arc<Making>,
}

impl<B: Backend> Snapshots<B> {
    /// Opens the root directory at `path`, made if missing. One process uses it at a time; another
    /// one is waited for at most `wait`.
    ///
    /// # Errors
    /// [`Kind::Locked`]; [`Kind::Unsupported`] when the backend cannot work there, with the reason.
    pub fn open(path: &Path, wait: Duration) -> Result<Snapshots<B>, Error> {
        let root = Arc::new(Root::open(path, wait)?);
        let (index, broken) = load(&root)?;
        // What an earlier process did not get to.
        sweep::begin(&root, root.abandoned()?);
        let backend = B::probe(&root)?;
        Ok(Snapshots {
            root,
            backend,
            index: RwLock::new(index),
            broken: RwLock::new(broken),
            making: Arc::default(),
        })
    }

    fn get(&self, name: &Name) -> Option<Arc<Info>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The chain from `top` down. `extra` holds those that are not complete yet.
    fn chain(&self, top: Option<&Name>, extra: &HashMap<Name, Arc<Info>>) -> Result<Chain, Error> {
        let mut layers = Vec::new();
        let mut next = top.cloned();
        while let Some(name) = next {
            let (info, base) = match (extra.get(&name), self.get(&name)) {
                (Some(info), _) => (Arc::clone(info), self.root.new_at(info.id)),
                (None, Some(info)) => {
                    let base = self.root.at(info.id);
                    (info, base)
                }
                (None, None) => return Err(not_found(&name)),
            };
            if info.kind != SnapshotKind::Committed {
                let detail = "is not committed, so nothing can be built on it";
                return Err(Error::new(Kind::Invalid, &name, detail));
            }
            next = if info.opaque_root { None } else { info.parent.clone() };
            layers.push((info, base.join("fs")));
        }
        Ok(Chain { layers })
    }

    /// Writes what a layer needs to become complete.
    fn seal(&self, commit: &Commit, done: &HashMap<Name, Arc<Info>>) -> Result<Info, Error> {
        let Commit { pending, parent, report, labels } = commit;
        let chain = self.chain(parent.as_ref(), done)?;
        let own = self.root.new_at(pending.new.id);
        if !report.opaque_root {
            let mut implied_paths = report.implied.clone();
            if !report.root_described {
                implied_paths.push(RelativePath::default());
            }
            implied::settle(pending.dir(), &implied_paths, &chain, &own)?;
        }
        let mut usage = report.usage;
        // The root directory of the layer, which unpacking did not make.
        usage.inodes += 1;
        let info = Info {
            name: pending.name.clone(),
            kind: SnapshotKind::Committed,
            parent: parent.clone(),
            usage,
            labels: labels.clone(),
            created: now(),
            ids: None,
            id: pending.new.id,
            opaque_root: report.opaque_root,
        };
        record::write(pending.new.dir.as_fd(), &own, &info)?;
        Ok(info)
    }
}

fn not_found(name: &Name) -> Error {
    Error::new(Kind::NotFound, name, "there is no such snapshot")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Complete snapshots by name.
type Index = BTreeMap<Name, Arc<Info>>;

/// Reads all records. Snapshots without a record or without their parent are broken.
fn load(root: &Root) -> Result<(Index, Vec<u64>), Error> {
    let path = root.path().join("snapshots");
    let (mut index, mut broken) = (BTreeMap::new(), Vec::new());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let names = layer::entries(root.snapshots(), "snapshots")
        .map_err(|e| Error::tree(&path, "list the directory", e))?;
    for entry in names {
        let Some(id) = std::str::from_utf8(&entry.name).ok().and_then(|n| n.parse().ok()) else {
            continue;
        };
        root.taken(id);
        let path = root.at(id);
        let dir = openat(root.snapshots(), entry.name.as_slice(), flags, Mode::empty())
            .map_err(|e| Error::io(&path, "open the directory", e))?;
        match record::read(dir.as_fd(), id, &path)? {
            Some(info) if !index.contains_key(&info.name) => {
                index.insert(info.name.clone(), Arc::new(info));
            }
            _ => broken.push(id),
        }
    }
    loop {
        let orphans: Vec<Name> = index
            .values()
            .filter(|info: &&Arc<Info>| {
                info.parent.as_ref().is_some_and(|parent| !index.contains_key(parent))
            })
            .map(|info| info.name.clone())
            .collect();
        if orphans.is_empty() {
            return Ok((index, broken));
        }
        broken.extend(orphans.iter().filter_map(|name| index.remove(name)).map(|info| info.id));
    }
}

impl<B> Drop for Snapshots<B> {
    /// Who opens the root next, in this process too, finds nobody at work in it.
    fn drop(&mut self) {
        self.root.sweep().wait();
    }
}

impl<B: Backend> Snapshotter for Snapshots<B> {
    fn begin(&self, name: &Name, wait: Duration) -> Result<Begin, Error> {
        let turn = self.making.turn(name, wait).ok_or_else(|| {
            let detail = format!("is being made by somebody else for more than {wait:?}");
            Error::new(Kind::InUse, name, detail)
        })?;
        match self.get(name) {
            Some(info) if info.kind == SnapshotKind::Committed => Ok(Begin::Have(info)),
            Some(_) => Err(Error::new(Kind::Exists, name, "is the snapshot of a container")),
            None => {
                let new = NewDir::make(&self.root)?;
                let files = self.root.make_in(new.id, &new.dir, "fs")?;
                let whiteouts = self.backend.whiteouts();
                Ok(Begin::Unpack(Pending { new, files, name: name.clone(), whiteouts, turn }))
            }
        }
    }

    fn commit(&self, layers: Vec<Commit>) -> Result<Vec<Arc<Info>>, Error> {
        let mut sealed = HashMap::new();
        let mut order = Vec::new();
        for commit in &layers {
            let info = Arc::new(self.seal(commit, &sealed)?);
            sealed.insert(info.name.clone(), Arc::clone(&info));
            order.push(info);
        }
        // Contents and records first, then the names: never a name without its contents.
        self.root.sync()?;
        let mut turns = Vec::new();
        for (mut commit, info) in layers.into_iter().zip(&order) {
            // Under the lock: the parent cannot be removed in between.
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            if commit.parent.as_ref().is_some_and(|parent| !index.contains_key(parent)) {
                return Err(Error::new(Kind::NotFound, &info.name, "its parent was removed"));
            }
            self.root.complete(info.id)?;
            commit.pending.new.complete = true;
            index.insert(info.name.clone(), Arc::clone(info));
            drop(index);
            turns.push(commit.pending.turn);
        }
        self.root.sync_names()?;
        drop(turns);
        Ok(order)
    }

    fn prepare(&self, spec: &Spec) -> Result<Arc<Info>, Error> {
        if spec.kind == SnapshotKind::Committed {
            let detail = "a committed snapshot is made by begin and commit";
            return Err(Error::new(Kind::Invalid, &spec.name, detail));
        }
        let turn = self.making.turn(&spec.name, Duration::ZERO);
        let exists = || Error::new(Kind::Exists, &spec.name, "there is such a snapshot already");
        let (Some(_turn), None) = (turn, self.get(&spec.name)) else { return Err(exists()) };
        let chain = self.chain(spec.parent.as_ref(), &HashMap::new())?;
        let mut new = NewDir::make(&self.root)?;
        let files = self.root.make_in(new.id, &new.dir, "fs")?;
        let info = Info {
            name: spec.name.clone(),
            kind: spec.kind,
            parent: spec.parent.clone(),
            usage: Usage::default(),
            labels: spec.labels.clone(),
            created: now(),
            ids: spec.ids.clone(),
            id: new.id,
            opaque_root: false,
        };
        let snapshot = NewSnapshot { info: &info, dir: &new.dir, files: &files };
        self.backend.fill(&self.root, &snapshot, &chain)?;
        record::write(new.dir.as_fd(), &self.root.new_at(new.id), &info)?;
        let info = Arc::new(info);
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: the parent cannot be removed in between.
        if let Some(parent) = spec.parent.as_ref().filter(|parent| !index.contains_key(*parent)) {
            return Err(not_found(parent));
        }
        self.root.complete(new.id)?;
        new.complete = true;
        index.insert(info.name.clone(), Arc::clone(&info));
        Ok(info)
    }

    fn mount(&self, name: &Name) -> Result<Mount, Error> {
        let info = self.stat(name)?;
        if info.kind == SnapshotKind::Committed {
            let detail = "is committed: make a view or an active snapshot of it";
            return Err(Error::new(Kind::Invalid, name, detail));
        }
        let chain = self.chain(info.parent.as_ref(), &HashMap::new())?;
        Ok(self.backend.mount(&self.root, &info, &chain))
    }

    fn remove(&self, name: &Name) -> Result<(), Error> {
        let info = {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            let Some(info) = index.get(name).cloned() else { return Ok(()) };
            if let Some(child) = index.values().find(|other| other.parent.as_ref() == Some(name)) {
                let detail = format!("{} is built on it", child.name);
                return Err(Error::new(Kind::InUse, name, detail));
            }
            index.remove(name);
            info
        };
        self.root.remove(info.id, info.kind)
    }

    fn stat(&self, name: &Name) -> Result<Arc<Info>, Error> {
        self.get(name).ok_or_else(|| not_found(name))
    }

    fn usage(&self, name: &Name) -> Result<Usage, Error> {
        let info = self.stat(name)?;
        if info.kind == SnapshotKind::Committed {
            return Ok(info.usage);
        }
        let path = self.root.at(info.id).join("fs");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let files = open(&path, flags, Mode::empty()).map_err(|e| Error::io(&path, "open", e))?;
        layer::usage(files.as_fd()).map_err(|e| Error::tree(&path, "sum the usage", e))
    }

    fn list(&self) -> Vec<Arc<Info>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.values().cloned().collect()
    }

    fn cleanup(&self) -> Result<Cleaned, Error> {
        if self.making.is_busy() {
            let detail = "snapshots are being made; clean up before the first one";
            return Err(Error::new(Kind::InUse, self.root.path().display(), detail));
        }
        let mut cleaned = Cleaned::default();
        let mut broken = self.broken.write().unwrap_or_else(PoisonError::into_inner);
        for id in broken.drain(..) {
            self.root.remove(id, SnapshotKind::Committed)?;
            cleaned.broken.push(id);
        }
        drop(broken);
        self.root.sweep().wait();
        for (dir, name) in self.root.leftovers()? {
            self.root.remove_leftover(dir, &name)?;
            cleaned.removed += 1;
        }
        Ok(cleaned)
    }
}
