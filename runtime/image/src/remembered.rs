//! Images that are asked for by ID again and again, as each list of containers does.

use crate::{ImageService, Kind, Result, Summary};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Images that are remembered; a node runs fewer.
const MOST: usize = 4096;

/// Answers about images by ID, none for one that is not there.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The store's version that all of them are of.
    version: u64,
    by_id: HashMap<String, Option<Arc<Summary>>>,
}

impl Remembered {
    fn of(&self, version: u64, id: &str) -> Option<Option<Arc<Summary>>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_id.get(id).filter(|_| known.version == version).cloned()
    }

    /// Keeps an answer that was found after `version` was seen.
    fn keep(&self, version: u64, id: &str, found: Option<Arc<Summary>>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.version > version {
            return;
        }
        if known.version < version || known.by_id.len() >= MOST {
            *known = Known { version, by_id: HashMap::new() };
        }
        known.by_id.insert(id.to_owned(), found);
    }
}

impl ImageService {
    /// The image of a whole ID, none if it is not there, as far as that is known without looking into the
    /// store. Never waits for a disk; as true as [`ImageService::by_id`].
    #[must_use]
    pub fn remembered(&self, id: &str) -> Option<Option<Arc<Summary>>> {
        self.inner.remembered.of(self.inner.store.images_version(), id)
    }

    /// The image of a whole ID; none if it is not there.
    ///
    /// # Errors
    /// When the store fails.
    pub fn by_id(&self, id: &str) -> Result<Option<Arc<Summary>>> {
        // Before the store is asked: what changes meanwhile is another version's.
        let version = self.inner.store.images_version();
        if let Some(known) = self.inner.remembered.of(version, id) {
            return Ok(known);
        }
        let Ok(digest) = id.parse() else { return Ok(None) };
        let found = match self.inner.store.image(&digest).map_err(crate::Error::from) {
            Ok(image) => Some(Arc::new(Summary::from(image))),
            Err(e) if e.kind() == Kind::NotFound => None,
            Err(e) => return Err(e),
        };
        self.inner.remembered.keep(version, id, found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_its_version_only() {
        let remembered = Remembered::default();
        assert_eq!(remembered.of(0, "a"), None);
        remembered.keep(1, "a", None);
        assert_eq!(remembered.of(1, "a"), Some(None));
        assert_eq!((remembered.of(0, "a"), remembered.of(2, "a")), (None, None));
        remembered.keep(0, "b", None);
        assert_eq!(remembered.of(0, "b"), None, "a newer version is known");
        remembered.keep(2, "b", None);
        assert_eq!(remembered.of(2, "a"), None, "what was of the older version is forgotten");
        assert_eq!(remembered.of(2, "b"), Some(None));
    }

    #[test]
    fn not_more_is_remembered_than_a_node_has() {
        let remembered = Remembered::default();
        for number in 0..=MOST {
            remembered.keep(1, &number.to_string(), None);
        }
        assert_eq!(remembered.of(1, "0"), None);
        assert_eq!(remembered.of(1, &MOST.to_string()), Some(None));
    }
}
