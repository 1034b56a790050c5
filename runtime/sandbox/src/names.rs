//! Names of pods: each stands for one pod, also while that is being made.

use crate::wish::Name;
use crate::{Error, Kind, Result};
use cri_api::v1::PodSandboxConfig;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// How the making of a pod ended; `None` while it goes on.
pub(crate) type Outcome = Option<Result<String>>;

/// What a caller asked for. Compared by value: maps have no order on the wire.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) config: PodSandboxConfig,
    pub(crate) handler: String,
}

/// Who has a name.
#[derive(Debug)]
enum Holder {
    /// A pod that is being made.
    Making { id: String, request: Arc<Request>, outcome: watch::Receiver<Outcome> },
    /// A pod.
    Pod {
        id: String,
        /// The request that it was made by, as long as nobody was told of it.
        untold: Option<Arc<Request>>,
    },
}

/// What a caller is to do.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Make the pod, and tell the outcome.
    Make(watch::Sender<Outcome>),
    /// Wait for who makes it.
    Join { id: String, outcome: watch::Receiver<Outcome> },
    /// It is there, and its caller never heard of it.
    Take(String),
}

/// All names of the node.
#[derive(Debug, Default)]
pub(crate) struct Names {
    holders: Mutex<HashMap<Name, Holder>>,
}

impl Names {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Name, Holder>) -> T) -> T {
        work(&mut self.holders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the name for the pod `id`, which is asked for by `request`.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] when another request has it.
    pub(crate) fn take(&self, name: &Name, id: &str, request: Arc<Request>) -> Result<Turn> {
        self.with(|holders| match holders.get_mut(name) {
            None => {
                let (sender, outcome) = watch::channel(None);
                let id = id.to_owned();
                holders.insert(name.clone(), Holder::Making { id, request, outcome });
                Ok(Turn::Make(sender))
            }
            Some(Holder::Making { id, request: first, outcome }) if *first == request => {
                Ok(Turn::Join { id: id.clone(), outcome: outcome.clone() })
            }
            Some(Holder::Pod { id, untold }) if untold.as_ref() == Some(&request) => {
                *untold = None;
                Ok(Turn::Take(id.clone()))
            }
            Some(Holder::Making { id, .. }) => {
                Err(taken(name, format!("pod {id} of this name is being made differently")))
            }
            Some(Holder::Pod { id, .. }) => Err(taken(name, format!("exists already: {id}"))),
        })
    }

    /// The pod is there; nobody was told yet.
    pub(crate) fn made(&self, name: &Name, id: &str) {
        self.with(|holders| {
            let untold = match holders.get(name) {
                Some(Holder::Making { request, .. }) => Some(request.clone()),
                _ => None,
            };
            holders.insert(name.clone(), Holder::Pod { id: id.to_owned(), untold });
        });
    }

    /// A pod of an earlier process has the name.
    pub(crate) fn keep(&self, name: &Name, id: &str) {
        let holder = Holder::Pod { id: id.to_owned(), untold: None };
        self.with(|holders| holders.insert(name.clone(), holder));
    }

    /// A caller was told of the pod.
    pub(crate) fn told(&self, name: &Name) {
        self.with(|holders| {
            if let Some(Holder::Pod { untold, .. }) = holders.get_mut(name) {
                *untold = None;
            }
        });
    }

    /// The name is free again, if `id` has it.
    pub(crate) fn free(&self, name: &Name, id: &str) {
        self.with(|holders| {
            let holder = match holders.get(name) {
                Some(Holder::Making { id, .. } | Holder::Pod { id, .. }) => id,
                None => return,
            };
            if holder == id {
                holders.remove(name);
            }
        });
    }

    /// Whether `id` is being made or exists.
    pub(crate) fn holds(&self, id: &str) -> bool {
        self.with(|holders| {
            holders.values().any(|holder| match holder {
                Holder::Making { id: other, .. } | Holder::Pod { id: other, .. } => other == id,
            })
        })
    }
}

fn taken(name: &Name, cause: String) -> Error {
    Error::new(Kind::AlreadyExists, name, cause)
        .with_advice("remove that pod first, or count the attempt up")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name { namespace: "n".into(), name: "p".into(), uid: "u".into(), attempt: 0 }
    }

    fn asked(handler: &str) -> Arc<Request> {
        let config = PodSandboxConfig::default();
        Arc::new(Request { config, handler: handler.to_owned() })
    }

    #[test]
    fn the_second_caller_joins_and_an_orphan_is_taken_once() {
        let names = Names::default();
        assert!(matches!(names.take(&name(), "a", asked("x")), Ok(Turn::Make(_))));
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
    fn a_told_pod_is_not_given_twice() {
        let names = Names::default();
        assert!(names.take(&name(), "a", asked("x")).is_ok());
        names.made(&name(), "a");
        names.told(&name());
        assert!(names.take(&name(), "b", asked("x")).is_err());
    }
}
