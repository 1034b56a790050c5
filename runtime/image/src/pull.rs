//! Pulls.

use crate::fetch::{Fetch, Source};
use crate::plan::{Plan, check_manifest};
use crate::progress::{Progress, Stage};
use crate::service::lock;
use crate::threads::Threads;
use crate::transfer::Arrival;
use crate::{Error, ImageService, Kind, Result, Summary, blocking, names};
use content_digest::Digest;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use registry::spec::Platform;
use registry::{Credentials, Reference};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use store::Name;

/// Attempts of a pull whose content was not what its digest says.
const ATTEMPTS: usize = 3;

/// What to pull.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Which image.
    pub reference: Reference,
    /// Which of several.
    pub platform: Platform,
    /// For the registry that the reference names; else what is configured for it.
    pub credentials: Option<Credentials>,
}

impl Pull {
    /// The image that `reference` names, for this machine.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when it names nothing.
    pub fn new(reference: &str) -> Result<Pull> {
        let reference = reference.parse()?;
        Ok(Pull { reference, platform: Platform::host(), credentials: None })
    }
}

/// Digest and text of each.
type Documents = Vec<(Digest, Vec<u8>)>;

type Outcome = BoxFuture<'static, Result<Summary>>;

/// A pull that others may join.
#[derive(Debug)]
pub(crate) struct Joined {
    work: WeakShared<Outcome>,
    progress: std::sync::Weak<Progress>,
    credentials: Option<Credentials>,
}

/// A pull under way; the future yields the image. Dropped, and nobody else waits for the same
/// pull, it stops; what came stays, and the next pull goes on from there.
#[derive(Debug)]
pub struct Pulling {
    work: Shared<Outcome>,
    progress: Arc<Progress>,
}

impl Pulling {
    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

impl Future for Pulling {
    type Output = Result<Summary>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Summary>> {
        self.work.poll_unpin(context)
    }
}

/// Counts a pull as failed unless it is told otherwise: also one that is dropped.
struct Count<'a>(&'a std::sync::atomic::AtomicU64, bool);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl ImageService {
    /// Pulls an image. The same request while it runs joins it, with the same outcome.
    ///
    /// The future is to be polled within a tokio runtime.
    #[must_use]
    pub fn pull(&self, pull: Pull) -> Pulling {
        let key = format!("{} {}", pull.reference, pull.platform);
        let mut pulls = lock(&self.inner.pulls);
        pulls.retain(|_, joined| joined.work.upgrade().is_some());
        // Who shows other credentials must be let in by the registry itself.
        let known = pulls.get(&key).filter(|joined| joined.credentials == pull.credentials);
        let known =
            known.and_then(|joined| Some((joined.work.upgrade()?, joined.progress.upgrade()?)));
        if let Some((work, progress)) = known.filter(|(work, _)| work.peek().is_none()) {
            return Pulling { work, progress };
        }
        let progress = self.progress(&pull.reference.to_string());
        self.inner.begun.fetch_add(1, Ordering::Relaxed);
        let (service, shown) = (self.clone(), Arc::clone(&progress));
        let credentials = pull.credentials.clone();
        let work = async move {
            let mut count = Count(&service.inner.failed, false);
            let outcome = service.run(&pull, &shown).await;
            count.1 = outcome.is_ok();
            shown.enter(Stage::Ended);
            outcome
        };
        let work = work.boxed().shared();
        if let Some(weak) = work.downgrade() {
            let progress = Arc::downgrade(&progress);
            pulls.insert(key, Joined { work: weak, progress, credentials });
        }
        Pulling { work, progress }
    }

    async fn run(&self, pull: &Pull, progress: &Arc<Progress>) -> Result<Summary> {
        let mut attempt = 1;
        loop {
            match self.attempt(pull, progress).await {
                // What differs was dropped, so this fetches it anew, from elsewhere if it can.
                Err(e)
                    if matches!(e.kind(), Kind::Mismatch | Kind::Damaged) && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                    progress.restart();
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&self, pull: &Pull, progress: &Arc<Progress>) -> Result<Summary> {
        progress.enter(Stage::Resolving);
        let client = &self.inner.client;
        let repository = client.repository(&pull.reference, pull.credentials.clone()).await?;
        let image = repository.image(&pull.platform).await?;
        let (plan, documents) = planned(&image)?;
        let target = image.target.digest.clone();
        let ids = (&plan.id, &target, &plan.manifest);
        let names = names::names_for(&pull.reference, ids, now())?;
        let fetch = self.fetch(Source::Registry(repository), plan);
        self.arrive(fetch, documents, names, progress).await
    }

    /// Brings an image here and makes it known.
    pub(crate) async fn arrive(
        &self,
        fetch: Arc<Fetch>,
        documents: Documents,
        names: Vec<Name>,
        progress: &Progress,
    ) -> Result<Summary> {
        self.keep_documents(&fetch, documents).await?;
        progress.enter(Stage::Layers);
        let commits = fetch.layers(progress).await?;
        progress.enter(Stage::Committing);
        let service = self.clone();
        blocking(move || service.commit(&Arrival { fetch, names }, commits)).await
    }

    pub(crate) fn fetch(&self, source: Source, plan: Plan) -> Arc<Fetch> {
        let hold = self.inner.store.hold();
        let threads = Threads::default();
        Arc::new(Fetch { service: self.clone(), source, plan, hold, threads })
    }

    /// Puts the small documents of an image into the store.
    async fn keep_documents(&self, fetch: &Fetch, documents: Documents) -> Result<()> {
        for digest in fetch.plan.blobs(false) {
            fetch.hold.blob(&digest);
        }
        let store = self.inner.store.clone();
        let fetching = self.inner.fetching.all(documents.iter().map(|(digest, _)| digest));
        // Another pull may be writing the same manifest.
        let mut guards = Vec::new();
        for turn in &fetching {
            guards.push(turn.lock().await);
        }
        blocking(move || {
            for (digest, bytes) in &documents {
                store.put_blob(digest, bytes)?;
            }
            Ok(())
        })
        .await
    }
}

/// What the registry's documents ask for, and the documents.
fn planned(image: &registry::Image) -> Result<(Plan, Documents)> {
    let Some(last) = image.documents.last() else {
        return Err(Error::new(Kind::Invalid, "registry", "sent no manifest"));
    };
    let digest: Digest = last.descriptor.digest.clone();
    check_manifest(&digest, &image.manifest)?;
    let mut plan = Plan::new(&last.descriptor, &image.manifest, &image.config_bytes)?;
    let mut documents = Vec::new();
    for fetched in &image.documents {
        documents.push((fetched.descriptor.digest.clone(), fetched.bytes.to_vec()));
    }
    plan.indexes = documents.iter().map(|(digest, _): &(Digest, _)| digest.clone()).collect();
    plan.indexes.retain(|index| *index != digest);
    documents.push((plan.id.clone(), image.config_bytes.to_vec()));
    Ok((plan, documents))
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}
