//! What is asked for.

use crate::call::Call;
use crate::files::Tops;
use crate::group::Group;
use crate::layers::Layers;
use crate::rate::Rates;
use crate::{describe, metrics};
use ::container::{Container, Containers};
use cgroup::Request;
use cri_api::v1::{ContainerState, ContainerStats, MetricDescriptor, PodSandboxStats};
use sandbox::{Error, Kind, Result, Sandbox};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Groups whose directories are remembered before it is looked which of them are gone.
const REMEMBERED: usize = 256;

/// Threads that one call may use.
const THREADS: usize = 4;

/// Pods or containers that are worth a thread.
const SHARE: usize = 16;

/// Usage of pods and containers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stats {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) containers: Containers,
    pub(crate) layers: Layers,
    pub(crate) rates: Rates,
    groups: Mutex<Groups>,
}

/// The directories of groups, by pod or container.
#[derive(Debug, Default)]
struct Groups {
    by_id: HashMap<String, Arc<Group>>,
    tops: Tops,
    /// How many there may be before those that are gone are forgotten.
    room: usize,
}

/// Whether there are figures of a container: it runs.
#[must_use]
pub fn counts(container: &Container) -> bool {
    container.state() == ContainerState::ContainerRunning
}

impl Stats {
    /// Usage of these containers and their pods.
    #[must_use]
    pub fn new(containers: Containers) -> Stats {
        let layers = Layers::new(containers.images().clone());
        let (rates, groups) = (Rates::default(), Mutex::default());
        Stats { shared: Arc::new(Shared { containers, layers, rates, groups }) }
    }

    /// What containers use. Figures that cannot be had are left out.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the work ends without an answer.
    pub async fn containers(&self, all: Vec<Arc<Container>>) -> Result<Vec<ContainerStats>> {
        self.blocking(move |shared| side_by_side(&all, |one| describe::container(shared, one)))
            .await
    }

    /// What pods use, with their containers that run.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the work ends without an answer.
    pub async fn pods(&self, all: Vec<Arc<Sandbox>>) -> Result<Vec<PodSandboxStats>> {
        self.blocking(move |shared| {
            let by_pod = shared.by_pod();
            side_by_side(&all, |pod| describe::pod(shared, pod, of(&by_pod, pod)))
        })
        .await
    }

    /// All metrics of pods and their containers, each pod as the bytes of a
    /// [`PodSandboxMetrics`](cri_api::v1::PodSandboxMetrics): they are many, and nobody here looks at them.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the work ends without an answer.
    pub async fn metrics(&self, all: Vec<Arc<Sandbox>>) -> Result<Vec<Vec<u8>>> {
        self.blocking(move |shared| {
            let (by_pod, call) = (shared.by_pod(), Call::new(shared));
            side_by_side(&all, |pod| metrics::pod(&call, pod, of(&by_pod, pod)))
        })
        .await
    }

    /// The metrics that [`Stats::metrics`] has values of.
    #[must_use]
    pub fn descriptors(&self) -> Vec<MetricDescriptor> {
        metrics::descriptors()
    }

    /// Bytes and inodes of the writable layers of all containers, as last measured.
    #[must_use]
    pub fn writable_layers(&self) -> (u64, u64) {
        self.shared.layers.sum(&self.shared.containers.list())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || work(&shared));
        done.await.map_err(|e| Error::new(Kind::Internal, "statistics", e))
    }
}

/// Asks about each of `all`, in order, on several threads where there are many: what is read is the
/// kernel's, which answers on all processors.
fn side_by_side<T: Sync, U: Send>(all: &[T], ask: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let share = all.len().div_ceil(processors).max(SHARE);
    if all.len() <= share {
        return all.iter().map(ask).collect();
    }
    let ask = &ask;
    std::thread::scope(|scope| {
        let part = |part: &'_ [T]| part.iter().map(ask).collect::<Vec<U>>();
        let (first, rest) = all.split_at(share);
        let others: Vec<_> =
            rest.chunks(share).map(|some| scope.spawn(move || part(some))).collect();
        let mut answers = part(first);
        for other in others {
            // A thread that panicked has said why; its part is missing as if it had ended meanwhile.
            answers.extend(other.join().unwrap_or_default());
        }
        answers
    })
}

type ByPod = HashMap<String, Vec<Arc<Container>>>;

fn of<'a>(by_pod: &'a ByPod, pod: &Sandbox) -> &'a [Arc<Container>] {
    by_pod.get(pod.id()).map_or(&[], Vec::as_slice)
}

impl Shared {
    /// The containers that run, by pod.
    fn by_pod(&self) -> ByPod {
        let mut by_pod = ByPod::new();
        for one in self.containers.list().into_iter().filter(|one| counts(one)) {
            by_pod.entry(one.sandbox_id().to_owned()).or_default().push(one);
        }
        by_pod
    }

    /// The control group of a container.
    pub(crate) fn group(&self, container: &Container) -> Option<Arc<Group>> {
        self.known(container.id(), container.cgroups_path(), container.cgroup_driver())
    }

    /// The control group that a pod's containers are below.
    pub(crate) fn group_of_pod(&self, pod: &Sandbox) -> Option<Arc<Group>> {
        let parent = pod.cgroup_parent();
        // Containers right below the root have no group in common.
        if parent.trim_matches('/').is_empty() {
            return None;
        }
        self.known(pod.id(), parent, pod.cgroup_driver())
    }

    fn known(&self, id: &str, path: &str, driver: cgroup::Driver) -> Option<Arc<Group>> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups.by_id.get(id) {
            return Some(group.clone());
        }
        let request = Request { path: Some(path), driver, ..Request::new(id) };
        let group = Arc::new(Group::find(&request, &mut groups.tops)?);
        if groups.by_id.len() >= groups.room {
            let pods = self.containers.pods();
            let is_there = |id: &str| self.containers.get(id).is_ok() || pods.get(id).is_ok();
            groups.by_id.retain(|id, _| is_there(id));
            groups.room = REMEMBERED.max(2 * groups.by_id.len());
        }
        groups.by_id.insert(id.to_owned(), group.clone());
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays_however_many_there_are() {
        for count in [0, 1, 16, 17, 63, 64, 65, 1000] {
            let all: Vec<usize> = (0..count).collect();
            assert_eq!(
                side_by_side(&all, |n| n * 2),
                (0..count).map(|n| n * 2).collect::<Vec<_>>()
            );
        }
    }
}
