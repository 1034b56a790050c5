//! All layers of one image: fetched and unpacked side by side, each once whoever asks.

use crate::ahead::Ahead;
use crate::archive::Archive;
use crate::intake::{self, Input};
use crate::plan::{Plan, PlannedLayer};
use crate::progress::{LayerProgress, LayerStage, Progress};
use crate::threads::Threads;
use crate::{Error, ImageService, Kind, Result, blocking};
use bytes::Bytes;
use content_digest::Digest;
use futures_util::{StreamExt, TryStreamExt, stream};
use registry::Repository;
use registry::spec::Verifier;
use snapshot::{Begin, Commit, Name, Pending};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use store::{Hold, Ingest, Store};
use tokio::sync::mpsc;

/// Chunks that wait between the network and a layer's thread.
const QUEUE: usize = 8;
/// How often a layer that somebody else unpacks is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Where layers come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Registry(Repository),
    Archive(Arc<Archive>),
}

/// Which blobs somebody is fetching; the others wait and find it.
#[derive(Debug, Default)]
pub(crate) struct Fetching {
    blobs: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

impl Fetching {
    /// The turns of several blobs, sorted so that two who take several never wait for each other.
    pub(crate) fn all<'a>(
        &self,
        digests: impl Iterator<Item = &'a Digest>,
    ) -> Vec<Arc<tokio::sync::Mutex<()>>> {
        let mut digests: Vec<_> = digests.collect();
        digests.sort();
        digests.dedup();
        digests.into_iter().map(|digest| self.turn(digest)).collect()
    }

    fn turn(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.retain(|_, turn| turn.strong_count() > 0);
        let known = blobs.get(digest).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::default();
            blobs.insert(digest.clone(), Arc::downgrade(&turn));
            turn
        })
    }
}

/// What fetching works with.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) service: ImageService,
    pub(crate) source: Source,
    /// What is to be fetched.
    pub(crate) plan: Plan,
    /// Keeps all that the plan names.
    pub(crate) hold: Hold,
    /// Those of this pull.
    pub(crate) threads: Threads,
}

/// A layer that nobody else works on.
struct Turn {
    at: usize,
    pending: Option<Pending>,
    progress: Arc<LayerProgress>,
}

/// What was unpacked, if anything was to be.
type Unpacked = Option<(Pending, layer::Report)>;

impl Fetch {
    /// Brings all layers here. What comes back is unpacked, but neither durable nor known; lowest
    /// first.
    pub(crate) async fn layers(self: &Arc<Fetch>, progress: &Progress) -> Result<Vec<Commit>> {
        let shown = |layer: &PlannedLayer| progress.layer(&layer.digest, layer.blob.size);
        let shown: Vec<_> = self.plan.layers.iter().map(shown).collect();
        // Turns are taken from the lowest layer up. Images share layers from the lowest on, so two
        // pulls never wait for each other.
        let turns = stream::iter(shown.into_iter().enumerate()).then(|(at, progress)| {
            let fetch = Arc::clone(self);
            async move {
                let layer = &fetch.plan.layers[at];
                fetch.hold.layer(layer.chain_id.as_str());
                fetch.hold.blob(&layer.digest);
                Ok::<_, Error>(Turn { at, pending: fetch.turn(layer).await?, progress })
            }
        });
        let work = turns.map_ok(|turn| {
            let fetch = Arc::clone(self);
            async move { fetch.layer(turn).await }
        });
        let parallel = self.service.inner.settings.parallel_layers.max(1);
        let (mut ahead, mut left) = (Ahead::default(), self.plan.layers.len());
        let done = work.try_buffer_unordered(parallel).inspect_ok(|(_, commit)| {
            left -= 1;
            // After the last one the commit's own sync comes at once.
            if left > 0 && commit.is_some() {
                ahead.start(self.store().root());
            }
        });
        let outcome = done.try_collect::<Vec<_>>().await;
        if outcome.is_err() {
            // The other layers' threads notice that nobody feeds them.
            self.threads.idle().await;
        }
        let mut commits = outcome?;
        ahead.wait().await?;
        commits.sort_by_key(|(at, _)| *at);
        Ok(commits.into_iter().filter_map(|(_, commit): (_, Option<Commit>)| commit).collect())
    }

    fn store(&self) -> &Store {
        &self.service.inner.store
    }

    fn keeps_blobs(&self) -> bool {
        self.service.inner.settings.keep_blobs
    }

    /// The right to unpack a layer; none if it is unpacked already.
    async fn turn(&self, layer: &PlannedLayer) -> Result<Option<Pending>> {
        let name = Name::new(layer.chain_id.as_str()).map_err(Error::snapshot)?;
        loop {
            let (snapshots, name) = (Arc::clone(&self.service.inner.layers), name.clone());
            let begun = blocking(move || Ok(snapshots.begin(&name, Duration::ZERO))).await?;
            match begun {
                Ok(Begin::Have(info)) => {
                    let (bytes, inodes) = (info.usage.bytes, info.usage.inodes);
                    let space = store::Space { bytes, inodes };
                    let (store, key) = (self.store().clone(), layer.chain_id.to_string());
                    blocking(move || {
                        // Known to the snapshots only, as after a commit that was cut short.
                        if store.layer(&key)?.is_none() {
                            store.add_layer(&key, space);
                        }
                        Ok(())
                    })
                    .await?;
                    return Ok(None);
                }
                Ok(Begin::Unpack(pending)) => return Ok(Some(pending)),
                Err(e) if e.kind() == snapshot::Kind::InUse => tokio::time::sleep(LOOK).await,
                Err(e) => return Err(Error::snapshot(e)),
            }
        }
    }

    async fn layer(&self, turn: Turn) -> Result<(usize, Option<Commit>)> {
        let (at, progress) = (turn.at, Arc::clone(&turn.progress));
        let layer = &self.plan.layers[at];
        if turn.pending.is_none() && !self.keeps_blobs() {
            progress.enter(LayerStage::Present);
            return Ok((at, None));
        }
        let alone = self.service.inner.fetching.turn(&layer.digest);
        let guard = alone.lock().await;
        if self.has_blob(&layer.digest).await? {
            drop(guard);
            progress.enter(LayerStage::Present);
            if turn.pending.is_none() {
                return Ok((at, None));
            }
            let (store, digest) = (self.store().clone(), layer.digest.clone());
            let blob = blocking(move || Ok(store.open_blob(&digest)?)).await?;
            let done = self.take_in(turn, Input::Stored(blob), None).await?;
            return self.commit(at, done).map(|commit| (at, commit));
        }
        progress.enter(LayerStage::Fetching);
        let done = match &self.source {
            Source::Registry(repository) => self.transfer(turn, repository).await?,
            Source::Archive(archive) => self.copy(turn, archive).await?,
        };
        drop(guard);
        progress.enter(LayerStage::Done);
        self.commit(at, done).map(|commit| (at, commit))
    }

    fn commit(&self, at: usize, done: Option<(Pending, layer::Report)>) -> Result<Option<Commit>> {
        let Some((pending, report)) = done else { return Ok(None) };
        let below = at.checked_sub(1).map(|below| self.plan.layers[below].chain_id.as_str());
        let parent = below.map(Name::new).transpose().map_err(Error::snapshot)?;
        Ok(Some(pending.on(parent, report)))
    }

    async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let (store, digest) = (self.store().clone(), digest.clone());
        blocking(move || Ok(store.check_blob(&digest)?)).await
    }

    async fn copy(&self, turn: Turn, archive: &Arc<Archive>) -> Result<Unpacked> {
        let layer = &self.plan.layers[turn.at];
        let section = archive.blob(&layer.digest)?;
        if section.size != layer.blob.size {
            let text = format!("{} bytes, announced were {}", section.size, layer.blob.size);
            return Err(Error::new(Kind::Mismatch, layer.digest.to_string(), text));
        }
        let ingest = if self.keeps_blobs() {
            let mut ingest = intake::begin(self.store(), &layer.digest, layer.blob.size).await?;
            // What is there came from elsewhere and would shift the content.
            ingest.restart()?;
            Some(ingest)
        } else {
            None
        };
        self.take_in(turn, Input::Section(section), ingest).await
    }

    async fn transfer(&self, turn: Turn, repository: &Repository) -> Result<Unpacked> {
        let layer = &self.plan.layers[turn.at];
        let ingest = intake::begin(self.store(), &layer.digest, layer.blob.size).await?;
        turn.progress.set(ingest.offset());
        let verifier = seen(&ingest, &layer.digest).await?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let feed = feed(repository.resume(&layer.blob, verifier), sender);
        let taken = self.take_in(turn, Input::Stream(receiver), Some(ingest));
        let (fed, taken) = tokio::join!(feed, taken);
        // When the thread gave up first, the feed ends without an error of its own.
        fed?;
        taken
    }

    async fn take_in(&self, turn: Turn, input: Input, ingest: Option<Ingest>) -> Result<Unpacked> {
        let layer = self.plan.layers[turn.at].clone();
        let at_work = (self.threads.enter(), self.service.inner.threads.enter());
        let (done, _at_work) = blocking(move || {
            // Who has given up is waited for until the directory is gone too: last in, first out.
            let at_work = at_work;
            let Turn { pending, progress, .. } = turn;
            let report = intake::take_in(&layer, input, ingest, pending.as_ref(), &progress)?;
            Ok((pending.zip(report), at_work))
        })
        .await?;
        Ok(done)
    }
}

/// A verifier that has seen what is there.
async fn seen(ingest: &Ingest, digest: &Digest) -> Result<Verifier> {
    let mut verifier = Verifier::new(digest);
    if ingest.offset() == 0 {
        return Ok(verifier);
    }
    let mut partial = ingest.partial()?;
    blocking(move || {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match partial.read(&mut buffer) {
                Ok(0) => return Ok(verifier),
                Ok(count) => verifier.update(&buffer[..count]),
                Err(e) => return Err(Error::io("read", Path::new("a partial download"), &e)),
            }
        }
    })
    .await
}

/// Passes on what the registry sends, until its end or until nobody takes it any more.
async fn feed(mut blob: registry::Blob, sender: mpsc::Sender<Bytes>) -> Result<()> {
    while let Some(bytes) = blob.next().await? {
        if sender.send(bytes).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
