//! The interface: one event at a time, told to all plugins in their order.

use crate::book::Book;
use crate::describe;
use crate::limits;
use crate::link::Failure;
use crate::measure::Measure;
use crate::merge::Others;
use crate::plugin::{About, Plugin, call};
use crate::settings::Settings;
use crate::v1alpha1::{Container as Shown, ContainerEviction, ContainerUpdate, Event, PodSandbox};
use container::{Container, Containers, Error, Kind, Result};
use prost::Message;
use runtime_spec::Spec;
use sandbox::{Network, Sandbox, blocking};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, watch};

/// The interface of one node. Cheap to clone: all clones are the same.
#[derive(Clone, Debug)]
pub struct Nri {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) book: Book,
    pub(crate) measure: Measure,
    containers: OnceLock<Containers>,
    /// Held while an event is told: plugins hear one at a time, as they expect it.
    turn: Mutex<()>,
    /// Whether this is over.
    pub(crate) over: watch::Sender<bool>,
}

/// Whether all plugins hear of an event, whatever one says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusals {
    /// The first that refuses ends it.
    Count,
    /// It has happened: all are told.
    AreTold,
}

impl Inner {
    pub(crate) fn new(settings: Settings) -> Inner {
        Inner {
            settings,
            book: Book::default(),
            measure: Measure::default(),
            containers: OnceLock::new(),
            turn: Mutex::default(),
            over: watch::Sender::new(false),
        }
    }

    pub(crate) fn attach(&self, containers: Containers) {
        for container in containers.list() {
            if is_alive(&container) {
                self.book.lives(container.id());
            }
        }
        // The first one stays: there is one node.
        let _first = self.containers.set(containers);
    }

    pub(crate) fn containers(&self) -> Result<&Containers> {
        let early = || Error::new(Kind::Unavailable, "NRI", "the node is not opened yet");
        self.containers.get().ok_or_else(early)
    }

    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// The turn, unless there is nobody to tell.
    pub(crate) async fn turn_if_heard(&self) -> Option<MutexGuard<'_, ()>> {
        match self.book.is_quiet() {
            true => None,
            false => Some(self.turn().await),
        }
    }

    /// Tells all who want to hear of it.
    ///
    /// # Errors
    /// What they refuse.
    pub(crate) async fn tell<Q: Message>(
        &self,
        event: Event,
        (argument, about): (&Q, &About),
        refusals: Refusals,
    ) -> Result<()> {
        let mut errors = Vec::new();
        for plugin in self.book.who_wants(event) {
            let told = plugin.tell(event, (argument, about), self.settings.request).await;
            let Err(failure) = told else { continue };
            errors.extend(self.failed(&plugin, event, &failure).err());
            if refusals == Refusals::Count && !errors.is_empty() {
                break;
            }
        }
        Error::join(errors)
    }

    /// A plugin that is of no more use is dropped; others have refused.
    pub(crate) fn failed(
        &self,
        plugin: &Arc<Plugin>,
        event: Event,
        failure: &Failure,
    ) -> Result<()> {
        if failure.is_fatal() {
            self.drop_plugin(plugin, &format!("{failure} ({})", call(event)));
            return Ok(());
        }
        let cause = format!("{} failed: {failure}", call(event));
        Err(Error::new(Kind::Precondition, format!("NRI plugin {}", plugin.name), cause))
    }

    /// Goes on without a plugin. Required ones are missed when a container is made.
    pub(crate) fn drop_plugin(&self, plugin: &Arc<Plugin>, why: &str) {
        plugin.end(why);
        let Some(left) = self.book.remove(plugin, why) else { return };
        self.measure.dropped(&plugin.name);
        self.measure.connected(left);
        tracing::error!(plugin = plugin.name, why, "an NRI plugin was dropped");
    }

    /// A pod as plugins see it.
    pub(crate) fn pod(&self, pod: &Sandbox) -> PodSandbox {
        describe::pod(pod, &pod.network())
    }

    /// A container as plugins see it, with its configuration where that is there.
    pub(crate) async fn container(&self, container: &Arc<Container>) -> Shown {
        self.container_of(container, None).await
    }

    /// The same, with the configuration that it is about to be made of.
    pub(crate) async fn container_of(
        &self,
        container: &Arc<Container>,
        spec: Option<Spec>,
    ) -> Shown {
        let (read, images) = (container.clone(), self.containers.get().cloned());
        let described = blocking(move || {
            let spec = match spec {
                Some(spec) => Some(spec),
                None => read.configuration()?,
            };
            let digest = images.and_then(|containers| digest(&containers, &read));
            Ok(describe::container(&read, spec.as_ref(), digest))
        });
        described.await.unwrap_or_else(|e| {
            tracing::warn!(container = container.id(), error = %e, "plugins see a part of it only");
            describe::container(container, None, None)
        })
    }

    /// Pods and containers that are there, and those that are being made.
    pub(crate) async fn all(&self) -> Result<(Vec<PodSandbox>, Vec<Shown>)> {
        let containers = self.containers()?;
        let (new_pods, new_containers) = self.book.being_made();
        let networked = |pod: Arc<Sandbox>| (pod.network(), pod);
        let listed = containers.pods().list().into_iter().map(networked);
        let new = new_pods.into_iter().map(|new| (Arc::new(new.network), new.pod));
        let mut seen = BTreeSet::new();
        let all: Vec<(Arc<Network>, Arc<Sandbox>)> =
            listed.chain(new).filter(|(_, pod)| seen.insert(pod.id().to_owned())).collect();
        let pods = all.iter().map(|(network, pod)| describe::pod(pod, network)).collect();
        let mut shown = Vec::new();
        for container in containers.list().into_iter().chain(new_containers) {
            if is_alive(&container) && seen.insert(container.id().to_owned()) {
                shown.push(self.container(&container).await);
            }
        }
        Ok((pods, shown))
    }

    /// Does what plugins want of other containers. What made them want it has happened: that one
    /// fails is told, no more.
    pub(crate) async fn carry_out(self: &Arc<Self>, others: Others) {
        for update in &others.updates {
            if let Err(e) = self.limit(update).await {
                let container = update.container_id.as_str();
                tracing::warn!(container, error = %e, "limits that a plugin wants were not set");
            }
        }
        self.evict(others.evictions);
    }

    /// Sets limits that a plugin wants, whatever becomes of who asks. One container that hangs holds
    /// nobody up for longer than a plugin may.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Invalid`], [`Kind::Deadline`]; what the kernel says.
    pub(crate) async fn limit(&self, update: &ContainerUpdate) -> Result<()> {
        let asked = update.linux.clone().unwrap_or_default().resources.unwrap_or_default();
        let (resources, rest) = limits::to_cri(&asked);
        let id = update.container_id.clone();
        if !rest.is_empty() {
            let cause = format!("{} can be set at creation only", rest.join(", "));
            return Err(Error::new(Kind::Invalid, format!("container {id:.12}"), cause));
        }
        let containers = self.containers()?.clone();
        let named = id.clone();
        let work = tokio::spawn(async move { containers.set_limits(&id, &resources).await });
        match tokio::time::timeout(self.settings.request, work).await {
            Ok(done) => done.unwrap_or_else(|e| Err(Error::new(Kind::Internal, "limits", e))),
            Err(_) => {
                let cause = format!("takes its limits for over {:?}", self.settings.request);
                Err(Error::new(Kind::Deadline, format!("container {named:.12}"), cause))
            }
        }
    }

    /// Ends containers that plugins want to end, without waiting: their ends are events.
    pub(crate) fn evict(self: &Arc<Self>, evictions: Vec<ContainerEviction>) {
        for ContainerEviction { container_id: id, reason } in evictions {
            let inner = self.clone();
            tokio::spawn(async move {
                tracing::warn!(container = id, reason, "a plugin ends it");
                let ended = async { inner.containers()?.stop(&id, Duration::ZERO).await };
                if let Err(e) = ended.await {
                    tracing::warn!(container = id, error = %e, "could not be ended for a plugin");
                }
            });
        }
    }
}

/// Whether plugins are to know a container.
fn is_alive(container: &Container) -> bool {
    use cri_api::v1::ContainerState as State;
    matches!(container.state(), State::ContainerCreated | State::ContainerRunning)
}

/// Digest of the manifest that a container's image came by, if it is there still.
fn digest(containers: &Containers, container: &Container) -> Option<String> {
    let image = containers.images().get(container.image_id()).ok().flatten()?;
    let name = image.repo_digests.first()?;
    name.rsplit_once('@').map(|(_, digest)| digest.to_owned())
}
