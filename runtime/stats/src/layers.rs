//! How large writable layers are: measured on one thread, so that no call waits for a disk.

use ::container::Container;
use ::image::ImageService;
use snapshot::Name;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How old a figure may be before it is measured again.
const FRESH: Duration = Duration::from_secs(10);

/// A layer whose measuring took so many times its duration ago is not measured yet again: large ones
/// cost the node the less often.
const SHARE: u32 = 50;

/// How long measuring waits once it is wanted: the call that wants it is answered first.
const PAUSE: Duration = Duration::from_millis(100);

/// Layers that may wait to be measured.
const WAITING: usize = 4096;

/// A measured size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// When, in nanoseconds since 1970.
    pub(crate) at: i64,
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    size: Option<Size>,
    /// When it is due again.
    due: Instant,
}

type Known = Arc<Mutex<BTreeMap<String, Measured>>>;

/// The sizes of all writable layers.
#[derive(Debug)]
pub(crate) struct Layers {
    known: Known,
    wanted: mpsc::Sender<(String, String)>,
}

fn lock(known: &Known) -> MutexGuard<'_, BTreeMap<String, Measured>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Layers {
    /// Measures layers of `images`, as long as this lives.
    pub(crate) fn new(images: ImageService) -> Layers {
        let known = Known::default();
        let (wanted, mut asked) = mpsc::channel::<(String, String)>(WAITING);
        let results = known.clone();
        let measuring =
            std::thread::Builder::new().name("layer-sizes".to_owned()).spawn(move || {
                while let Some(first) = asked.blocking_recv() {
                    std::thread::sleep(PAUSE);
                    let mut next = Some(first);
                    while let Some((container, name)) = next {
                        measure(&images, &results, container, &name);
                        next = asked.try_recv().ok();
                    }
                }
            });
        if let Err(e) = measuring {
            tracing::error!(cause = %e, "no thread for the sizes of writable layers: they are not told");
        }
        Layers { known, wanted }
    }

    /// The latest size of a container's layer. One that is not fresh is measured meanwhile.
    pub(crate) fn of(&self, container: &Container) -> Option<Size> {
        let mut known = lock(&self.known);
        let now = Instant::now();
        let entry = known.get(container.id()).copied();
        if entry.is_none_or(|measured| measured.due <= now) {
            let wish = (container.id().to_owned(), container.snapshot().to_owned());
            // A full queue is worked on; the next call asks again.
            if self.wanted.try_send(wish).is_ok() {
                let size = entry.and_then(|measured| measured.size);
                known.insert(container.id().to_owned(), Measured { size, due: now + FRESH });
            }
        }
        entry.and_then(|measured| measured.size)
    }

    /// Bytes and inodes of all layers of `all`; those of others are forgotten.
    pub(crate) fn sum(&self, all: &[Arc<Container>]) -> (u64, u64) {
        let there: HashMap<&str, &Arc<Container>> = all.iter().map(|one| (one.id(), one)).collect();
        lock(&self.known).retain(|id, _| there.contains_key(id.as_str()));
        let sizes = all.iter().filter_map(|one| self.of(one));
        sizes.fold((0, 0), |(bytes, inodes), size| (bytes + size.bytes, inodes + size.inodes))
    }
}

fn measure(images: &ImageService, known: &Known, container: String, name: &str) {
    let begun = Instant::now();
    let usage = Name::new(name).and_then(|name| images.layers().usage(&name));
    let took = begun.elapsed();
    let due = Instant::now() + FRESH.max(took * SHARE);
    let size = match usage {
        Ok(usage) => {
            let at = crate::describe::now();
            Some(Size { at, bytes: usage.bytes, inodes: usage.inodes })
        }
        Err(e) => {
            // It was removed meanwhile, or the disk fails, which others report.
            tracing::debug!(container, cause = %e, "the size of a writable layer is not known");
            None
        }
    };
    lock(known).insert(container, Measured { size, due });
}
