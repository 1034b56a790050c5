//! Names of pods and of their containers: each stands for one, also while that is being made.

use crate::{Error, Kind, Result};
use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Bytes of an id; it is written in hexadecimal.
const ID_BYTES: usize = 32;

/// How the making ended; `None` while it goes on.
pub type Outcome = Option<Result<String>>;

/// Who has a name.
#[derive(Debug)]
enum Holder<R> {
    /// One that is being made.
    Making { id: String, request: Arc<R>, outcome: watch::Receiver<Outcome> },
    /// One that is there.
    Made {
        id: String,
        /// The request that it was made by, as long as nobody was told of it.
        untold: Option<Arc<R>>,
    },
}

impl<R> Holder<R> {
    /// Whether who makes it ended without an outcome, by a panic.
    fn is_orphan(&self) -> bool {
        matches!(self, Holder::Making { outcome, .. } if outcome.has_changed().is_err())
    }
}

/// What a caller is to do.
#[derive(Debug)]
pub enum Turn {
    /// Make it, and tell the outcome.
    Make(watch::Sender<Outcome>),
    /// Wait for who makes it.
    Join {
        /// Which is being made.
        id: String,
        /// How that ends.
        outcome: watch::Receiver<Outcome>,
    },
    /// It is there, and its caller never heard of it.
    Take(String),
}

/// All names `N` of the node. Requests `R` are compared by value: maps have no order on the wire.
#[derive(Debug)]
pub struct Names<N, R> {
    holders: Mutex<HashMap<N, Holder<R>>>,
}

impl<N, R> Default for Names<N, R> {
    fn default() -> Self {
        Names { holders: Mutex::default() }
    }
}

impl<N: Clone + Display + Eq + Hash, R: PartialEq> Names<N, R> {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<N, Holder<R>>) -> T) -> T {
        work(&mut self.holders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the name for `id`, which is asked for by `request`.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] when another request has it.
    pub fn take(&self, name: &N, id: &str, request: Arc<R>) -> Result<Turn> {
        self.with(|holders| match holders.get_mut(name).filter(|holder| !holder.is_orphan()) {
            None => {
                let (sender, outcome) = watch::channel(None);
                let id = id.to_owned();
                holders.insert(name.clone(), Holder::Making { id, request, outcome });
                Ok(Turn::Make(sender))
            }
            Some(Holder::Making { id, request: first, outcome }) if *first == request => {
                Ok(Turn::Join { id: id.clone(), outcome: outcome.clone() })
            }
            Some(Holder::Made { id, untold }) if untold.as_ref() == Some(&request) => {
                *untold = None;
                Ok(Turn::Take(id.clone()))
            }
            Some(Holder::Making { id, .. }) => {
                Err(taken(name, format!("{id} of this name is being made differently")))
            }
            Some(Holder::Made { id, .. }) => Err(taken(name, format!("exists already: {id}"))),
        })
    }

    /// It is there; nobody was told yet.
    pub fn made(&self, name: &N, id: &str) {
        self.with(|holders| {
            let untold = match holders.get(name) {
                Some(Holder::Making { request, .. }) => Some(request.clone()),
                _ => None,
            };
            holders.insert(name.clone(), Holder::Made { id: id.to_owned(), untold });
        });
    }

    /// One of an earlier process has the name. With `untold`, the request that it was made by, its
    /// caller may never have heard of it: the process may have ended before it answered.
    pub fn keep(&self, name: &N, id: &str, untold: Option<Arc<R>>) {
        let holder = Holder::Made { id: id.to_owned(), untold };
        self.with(|holders| holders.insert(name.clone(), holder));
    }

    /// A caller was told of it.
    pub fn told(&self, name: &N) {
        self.with(|holders| {
            if let Some(Holder::Made { untold, .. }) = holders.get_mut(name) {
                *untold = None;
            }
        });
    }

    /// The name is free again, if `id` has it.
    pub fn free(&self, name: &N, id: &str) {
        self.with(|holders| {
            let holder = match holders.get(name) {
                Some(Holder::Making { id, .. } | Holder::Made { id, .. }) => id,
                None => return,
            };
            if holder == id {
                holders.remove(name);
            }
        });
    }

    /// Whether `id` is being made or exists.
    pub fn holds(&self, id: &str) -> bool {
        self.with(|holders| {
            holders.values().any(|holder| match holder {
                Holder::Making { id: other, .. } | Holder::Made { id: other, .. } => other == id,
            })
        })
    }
}

/// Waits for the outcome.
///
/// # Errors
/// That of the making.
pub async fn told(mut outcome: watch::Receiver<Outcome>) -> Result<String> {
    let lost = || Error::new(Kind::Internal, "names", "whoever made it ended without an outcome");
    let told = outcome.wait_for(Option::is_some).await.map_err(|_| lost())?;
    told.clone().unwrap_or_else(|| Err(lost()))
}

/// A new id: 64 hexadecimal digits that nobody can guess.
///
/// # Errors
/// The kernel has no random numbers.
pub fn new_id() -> Result<String> {
    let mut bytes = [0; ID_BYTES];
    let mut filled = 0;
    while filled < ID_BYTES {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut bytes[filled..], flags) {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::io("random numbers", &errno.into())),
        }
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn taken(name: &impl Display, cause: String) -> Error {
    Error::new(Kind::AlreadyExists, name, cause)
        .with_advice("remove that one first, or count the attempt up")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> String {
        "n/p".to_owned()
    }

    fn asked(handler: &str) -> Arc<String> {
        Arc::new(handler.to_owned())
    }

    #[test]
    fn a_name_whose_maker_died_is_free() {
        let names: Names<String, String> = Names::default();
        let turn = names.take(&name(), "a", asked("x")).expect("free");
        assert!(names.take(&name(), "b", asked("y")).is_err(), "it is being made");
        drop(turn);
        assert!(matches!(names.take(&name(), "b", asked("y")), Ok(Turn::Make(_))));
    }

    #[test]
    fn the_second_caller_joins_and_an_orphan_is_taken_once() {
        let names: Names<String, String> = Names::default();
        let _making = names.take(&name(), "a", asked("x")).expect("free");
        assert!(
            matches!(names.take(&name(), "b", asked("x")), Ok(Turn::Join { id, .. }) if id == "a")
        );
        let other = names.take(&name(), "c", asked("y")).expect_err("another request");
        assert_eq!(other.kind(), Kind::AlreadyExists);
        names.made(&name(), "a");
        assert!(names.take(&name(), "d", asked("y")).is_err(), "another request");
        assert!(matches!(names.take(&name(), "d", asked("x")), Ok(Turn::Take(id)) if id == "a"));
        assert!(names.take(&name(), "d", asked("x")).is_err(), "somebody was told");
        names.free(&name(), "other");
        assert!(names.holds("a"));
        names.free(&name(), "a");
        assert!(!names.holds("a"));
    }

    #[test]
    fn one_of_an_earlier_process_is_handed_over_once() {
        let names: Names<String, String> = Names::default();
        names.keep(&name(), "a", Some(asked("x")));
        assert!(names.take(&name(), "b", asked("y")).is_err(), "another request");
        assert!(matches!(names.take(&name(), "b", asked("x")), Ok(Turn::Take(id)) if id == "a"));
        assert!(names.take(&name(), "b", asked("x")).is_err(), "somebody was told");
        names.keep(&name(), "c", None);
        assert!(names.take(&name(), "d", asked("x")).is_err(), "somebody was told before");
    }

    #[test]
    fn what_was_told_is_not_given_twice() {
        let names: Names<String, String> = Names::default();
        let _making = names.take(&name(), "a", asked("x")).expect("free");
        names.made(&name(), "a");
        names.told(&name());
        assert!(names.take(&name(), "b", asked("x")).is_err());
    }
}
