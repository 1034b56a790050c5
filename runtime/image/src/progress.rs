//! How far work is: for the command line, for metrics, for whoever waits.

use content_digest::Digest;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a layer is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerStage {
    /// Waits for its turn.
    Waiting,
    /// Comes in and is unpacked on the way.
    Fetching,
    /// Was here already.
    Present,
    /// Whole, and unpacked.
    Done,
}

const STAGES: [LayerStage; 4] =
    [LayerStage::Waiting, LayerStage::Fetching, LayerStage::Present, LayerStage::Done];

/// What a pull or import is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Asks what the reference means.
    #[default]
    Resolving,
    /// Fetches and unpacks layers.
    Layers,
    /// Makes all of it durable.
    Committing,
    /// Has ended, well or not.
    Ended,
}

/// The state of one layer, changed without locks.
#[derive(Debug)]
pub(crate) struct LayerProgress {
    digest: Digest,
    size: u64,
    fetched: AtomicU64,
    stage: AtomicU8,
    /// Shared by all: bytes that came from elsewhere, for metrics.
    total: Arc<AtomicU64>,
    changed: watch::Sender<Stage>,
}

impl LayerProgress {
    /// Bytes came from elsewhere.
    pub(crate) fn add(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes were there of an earlier attempt; or, before a new attempt, none.
    pub(crate) fn set(&self, bytes: u64) {
        self.fetched.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn enter(&self, stage: LayerStage) {
        let code = STAGES.iter().position(|s| *s == stage).unwrap_or_default();
        self.stage.store(u8::try_from(code).unwrap_or_default(), Ordering::Relaxed);
        if matches!(stage, LayerStage::Done | LayerStage::Present) {
            self.set(self.size);
        }
        self.changed.send_modify(|_| {});
    }
}

/// How far one pull or import is. Readers take a [`Report`] whenever they like, or wait for
/// changes of stages with [`Progress::watch`].
#[derive(Debug)]
pub struct Progress {
    subject: String,
    started: Instant,
    total: Arc<AtomicU64>,
    layers: Mutex<Vec<Arc<LayerProgress>>>,
    stage: watch::Sender<Stage>,
}

/// What a [`Progress`] was at some time.
#[derive(Clone, Debug)]
pub struct Report {
    /// The reference or archive.
    pub subject: String,
    /// What it is at.
    pub stage: Stage,
    /// Its layers, lowest first.
    pub layers: Vec<LayerReport>,
    /// Since when it runs.
    pub elapsed: Duration,
}

/// What a layer was at.
#[derive(Clone, Debug)]
pub struct LayerReport {
    /// Digest of its blob.
    pub digest: Digest,
    /// Bytes of its blob.
    pub size: u64,
    /// Bytes of it that are here.
    pub fetched: u64,
    /// What it is at.
    pub stage: LayerStage,
}

impl Report {
    /// Bytes that are here, and bytes of all layers.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |(here, all), layer: &LayerReport| (here + layer.fetched, all + layer.size);
        self.layers.iter().fold((0, 0), sum)
    }
}

impl Progress {
    pub(crate) fn new(subject: &str, total: &Arc<AtomicU64>) -> Arc<Progress> {
        Arc::new(Progress {
            subject: subject.to_owned(),
            started: Instant::now(),
            total: Arc::clone(total),
            layers: Mutex::default(),
            stage: watch::Sender::new(Stage::Resolving),
        })
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    pub(crate) fn layer(&self, digest: &Digest, size: u64) -> Arc<LayerProgress> {
        let layer = Arc::new(LayerProgress {
            digest: digest.clone(),
            size,
            fetched: AtomicU64::new(0),
            stage: AtomicU8::new(0),
            total: Arc::clone(&self.total),
            changed: self.stage.clone(),
        });
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.push(Arc::clone(&layer));
        layer
    }

    /// Forgets the layers of an attempt that failed.
    pub(crate) fn restart(&self) {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What it is at now.
    #[must_use]
    pub fn report(&self) -> Report {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let report = |layer: &Arc<LayerProgress>| LayerReport {
            digest: layer.digest.clone(),
            size: layer.size,
            fetched: layer.fetched.load(Ordering::Relaxed),
            stage: STAGES[usize::from(layer.stage.load(Ordering::Relaxed)) % STAGES.len()],
        };
        Report {
            subject: self.subject.clone(),
            stage: *self.stage.borrow(),
            layers: layers.iter().map(report).collect(),
            elapsed: self.started.elapsed(),
        }
    }

    /// Changes whenever the work or one of its layers enters another stage. Bytes are no change:
    /// look at them as often as they are shown.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }
}
