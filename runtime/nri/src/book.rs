//! Who is connected, and what was told of pods and containers. All under one lock, held for moments, so
//! that whoever makes a container while a plugin joins is either told to it as new or as there.

use crate::plugin::Plugin;
use crate::v1alpha1::Event;
use container::Container;
use sandbox::{Network, Sandbox};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Reasons of lost plugins that are kept.
const LOST_KEPT: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    /// In the order in which they are asked.
    plugins: Vec<Arc<Plugin>>,
    /// How many are about to hear what is there.
    joining: usize,
    /// Pods that were told of and are not listed yet.
    new_pods: BTreeMap<String, NewPod>,
    /// Containers that were told of and are not listed yet.
    new_containers: BTreeMap<String, Arc<Container>>,
    /// Containers whose end was not told yet.
    living: BTreeSet<String>,
    /// Pods whose end was told.
    stopped: BTreeSet<String>,
    /// Why plugins are not there any more, by name without index.
    lost: BTreeMap<String, String>,
}

/// A pod that is being made.
#[derive(Clone, Debug)]
pub(crate) struct NewPod {
    pub(crate) pod: Arc<Sandbox>,
    pub(crate) network: Network,
}

impl Pages {
    fn is_quiet(&self) -> bool {
        self.plugins.is_empty() && self.joining == 0
    }
}

/// A plugin that is about to hear what is there: until this is dropped, events wait for it.
#[derive(Debug)]
pub(crate) struct Joining<'a>(&'a Book);

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        self.0.with(|pages| pages.joining -= 1);
    }
}

impl Book {
    fn with<T>(&self, work: impl FnOnce(&mut Pages) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is nobody to tell.
    pub(crate) fn is_quiet(&self) -> bool {
        self.with(|pages| pages.is_quiet())
    }

    pub(crate) fn plugins(&self) -> Vec<Arc<Plugin>> {
        self.with(|pages| pages.plugins.clone())
    }

    /// Those that want to hear of it, in their order.
    pub(crate) fn who_wants(&self, event: Event) -> Vec<Arc<Plugin>> {
        let mut plugins = self.plugins();
        plugins.retain(|plugin| plugin.wants(event));
        plugins
    }

    pub(crate) fn joining(&self) -> Joining<'_> {
        self.with(|pages| pages.joining += 1);
        Joining(self)
    }

    /// It is there, and heard all: by index, then after those of the same. Returns how many there are.
    pub(crate) fn add(&self, plugin: &Arc<Plugin>) -> usize {
        self.with(|pages| {
            pages.lost.remove(&plugin.identity.name);
            let index = &plugin.identity.index;
            let at = pages.plugins.partition_point(|other| other.identity.index <= *index);
            pages.plugins.insert(at, plugin.clone());
            pages.plugins.len()
        })
    }

    /// It is gone, for this reason. Returns how many are left; `None` if it was not there.
    pub(crate) fn remove(&self, plugin: &Arc<Plugin>, why: &str) -> Option<usize> {
        let gone = self.with(|pages| {
            let before = pages.plugins.len();
            pages.plugins.retain(|other| !Arc::ptr_eq(other, plugin));
            let left = pages.plugins.len();
            (left < before).then_some(left)
        });
        if gone.is_some() {
            self.note_lost(&plugin.identity.name, why);
        }
        gone
    }

    /// Remembers why a plugin is not there.
    pub(crate) fn note_lost(&self, name: &str, why: &str) {
        self.with(|pages| {
            if pages.lost.len() >= LOST_KEPT && !pages.lost.contains_key(name) {
                pages.lost.pop_first();
            }
            pages.lost.insert(name.to_owned(), why.to_owned());
        });
    }

    pub(crate) fn why_lost(&self, name: &str) -> Option<String> {
        self.with(|pages| pages.lost.get(name).cloned())
    }

    /// A pod is about to be there. Whether there is nobody to tell.
    pub(crate) fn new_pod(&self, new: NewPod) -> bool {
        self.with(|pages| {
            pages.new_pods.insert(new.pod.id().to_owned(), new);
            pages.is_quiet()
        })
    }

    /// It is listed now, or undone. Whether it was new until now.
    pub(crate) fn not_new_pod(&self, id: &str) -> bool {
        self.with(|pages| pages.new_pods.remove(id).is_some())
    }

    /// A container is about to be made. Whether there is nobody to tell.
    pub(crate) fn new_container(&self, container: &Arc<Container>) -> bool {
        self.with(|pages| {
            pages.living.insert(container.id().to_owned());
            pages.new_containers.insert(container.id().to_owned(), container.clone());
            pages.is_quiet()
        })
    }

    /// It is listed now, or undone.
    pub(crate) fn not_new_container(&self, id: &str) {
        self.with(|pages| pages.new_containers.remove(id));
    }

    /// A container of an earlier daemon lives.
    pub(crate) fn lives(&self, id: &str) {
        self.with(|pages| pages.living.insert(id.to_owned()));
    }

    /// It has ended. Whether that is to be told, and was not.
    pub(crate) fn ended(&self, id: &str) -> bool {
        self.with(|pages| pages.living.remove(id))
    }

    /// As [`Book::ended`], but only if there is nobody to tell: whether that is so.
    pub(crate) fn ended_quietly(&self, id: &str) -> bool {
        self.with(|pages| {
            let is_quiet = pages.is_quiet();
            if is_quiet {
                pages.living.remove(id);
            }
            is_quiet
        })
    }

    /// A pod is being stopped. Whether that is to be told, and was not.
    pub(crate) fn stopped(&self, pod: &Sandbox) -> bool {
        !pod.is_stopped() && self.with(|pages| pages.stopped.insert(pod.id().to_owned()))
    }

    /// A pod is gone.
    pub(crate) fn forget(&self, id: &str) {
        self.with(|pages| pages.stopped.remove(id));
    }

    /// What is being made. To be asked before the lists of what is there.
    pub(crate) fn being_made(&self) -> (Vec<NewPod>, Vec<Arc<Container>>) {
        self.with(|pages| {
            let pods = pages.new_pods.values().cloned().collect();
            (pods, pages.new_containers.values().cloned().collect())
        })
    }
}
