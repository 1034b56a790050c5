//! The service as a whole.

use crate::fetch::Fetching;
use crate::progress::{Progress, Report};
use crate::pull::Joined;
use crate::remembered::Remembered;
use crate::threads::Threads;
use crate::{Error, Layers, Result};
use registry::Client;
use snapshot::{Overlay, Snapshots};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use store::{Lease, Store, Usage};

/// How long another process may take to let go of the snapshots.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// How a service works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of the store.
    pub store: PathBuf,
    /// Directory of the snapshotter.
    pub snapshots: PathBuf,
    /// Who is named to other processes that want the store, like `podloom image pull`.
    pub holder: String,
    /// How registries are spoken to.
    pub registry: registry::Config,
    /// Layers that one pull works on at the same time.
    pub parallel_layers: usize,
    /// The compressed blobs of layers stay in the store: images can be exported, and layers
    /// unpacked again.
    pub keep_blobs: bool,
    /// How long an unfinished download is kept for the pull that goes on with it.
    pub keep_partial: Duration,
}

impl Settings {
    /// The usual settings, with everything below one directory.
    #[must_use]
    pub fn below(root: &Path) -> Settings {
        Settings {
            store: root.join("store"),
            snapshots: root.join("overlay"),
            holder: "podloom".to_owned(),
            registry: registry::Config::default(),
            parallel_layers: 4,
            keep_blobs: true,
            keep_partial: Duration::from_secs(24 * 3600),
        }
    }
}

/// Figures for metrics; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Pulls that were begun; those that joined one do not count.
    pub pulls: u64,
    /// Pulls that failed or were given up.
    pub failed: u64,
    /// Bytes of layers that came from registries and archives.
    pub bytes: u64,
}

/// Images of this node. Clones are the same service.
#[derive(Clone, Debug)]
pub struct ImageService {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) layers: Layers,
    pub(crate) client: Client,
    pub(crate) fetching: Fetching,
    pub(crate) threads: Threads,
    pub(crate) pulls: Mutex<HashMap<String, Joined>>,
    pub(crate) at_work: Mutex<Vec<Weak<Progress>>>,
    pub(crate) remembered: Remembered,
    pub(crate) bytes: Arc<AtomicU64>,
    pub(crate) begun: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl ImageService {
    /// Opens store and snapshotter and makes what is missing.
    ///
    /// # Errors
    /// [`Kind::InUse`](crate::Kind::InUse) with the process that has them open; or the disk fails.
    pub fn open(settings: Settings) -> Result<ImageService> {
        let store = Store::open(&settings.store, &settings.holder)?;
        // Who has the store has the snapshots too; another one may be about to end.
        let overlay = Snapshots::<Overlay>::open(&settings.snapshots, LOCK_WAIT);
        let layers: Layers = Arc::new(overlay.map_err(Error::snapshot)?);
        Ok(ImageService::with(settings, store, layers))
    }

    /// A service on a store and a snapshotter that are open already.
    #[must_use]
    pub fn with(settings: Settings, store: Store, layers: Layers) -> ImageService {
        let client = Client::new(settings.registry.clone());
        let inner = Inner {
            settings,
            store,
            layers,
            client,
            fetching: Fetching::default(),
            threads: Threads::default(),
            pulls: Mutex::default(),
            at_work: Mutex::default(),
            remembered: Remembered::default(),
            bytes: Arc::default(),
            begun: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        ImageService { inner: Arc::new(inner) }
    }

    /// The content store beneath, for leases.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The snapshotter beneath, for the file systems of containers.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.inner.layers
    }

    /// What is occupied, without walking it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn usage(&self) -> Result<Usage> {
        Ok(self.inner.store.usage()?)
    }

    /// Figures for metrics.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            pulls: self.inner.begun.load(Ordering::Relaxed),
            failed: self.inner.failed.load(Ordering::Relaxed),
            bytes: self.inner.bytes.load(Ordering::Relaxed),
        }
    }

    /// The pulls and imports under way.
    #[must_use]
    pub fn under_way(&self) -> Vec<Report> {
        let mut at_work = lock(&self.inner.at_work);
        at_work.retain(|progress| progress.strong_count() > 0);
        at_work.iter().filter_map(Weak::upgrade).map(|progress| progress.report()).collect()
    }

    /// Keeps all that an image consists of, also when the image is removed, until the lease is
    /// released or this boot ends. `owner` is for people.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound), or the store fails.
    pub fn lease(&self, id: &str, owner: &str, image: &store::Digest) -> Result<()> {
        Ok(self.inner.store.lease_image(id, owner, image)?)
    }

    /// Ends a lease.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound), or the store fails.
    pub fn release(&self, id: &str) -> Result<()> {
        Ok(self.inner.store.release(id)?)
    }

    /// The leases that are valid.
    ///
    /// # Errors
    /// When the store fails.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        Ok(self.inner.store.leases()?)
    }

    /// Waits until no thread works for a pull or import any more: those of one that was given up
    /// end by themselves, soon. For who is about to close the store.
    pub async fn idle(&self) {
        self.inner.threads.idle().await;
    }

    pub(crate) fn progress(&self, subject: &str) -> Arc<Progress> {
        let progress = Progress::new(subject, &self.inner.bytes);
        let mut at_work = lock(&self.inner.at_work);
        at_work.retain(|progress| progress.strong_count() > 0);
        at_work.push(Arc::downgrade(&progress));
        progress
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
