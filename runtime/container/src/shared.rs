//! What all that goes on shares.

use crate::container::Container;
use crate::events::{Change, Event};
use crate::node::Node;
use crate::wish::Name;
use crate::{Error, Kind, Result, Settings};
use cri_api::v1::ContainerConfig;
use image::ImageService;
use sandbox::Sandboxes;
use sandbox::names::Names;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::broadcast;
use tracing::Instrument;

/// How many events a slow reader may be behind before it loses some.
const EVENTS_KEPT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) node: Node,
    pub(crate) pods: Sandboxes,
    pub(crate) images: ImageService,
    pub(crate) names: Names<Name, ContainerConfig>,
    containers: RwLock<BTreeMap<String, Arc<Container>>>,
    /// Pods whose shims are listened to.
    pub(crate) heard: Mutex<HashSet<String>>,
    events: broadcast::Sender<Event>,
    /// Held for reading by all that goes on.
    work: Arc<tokio::sync::RwLock<()>>,
}

impl Shared {
    pub(crate) fn new(settings: Settings, pods: Sandboxes, images: ImageService) -> Result<Shared> {
        Ok(Shared {
            settings,
            node: Node::look()?,
            pods,
            images,
            names: Names::default(),
            containers: RwLock::default(),
            heard: Mutex::default(),
            events: broadcast::channel(EVENTS_KEPT).0,
            work: Arc::default(),
        })
    }

    pub(crate) fn run_dir(&self, id: &str) -> PathBuf {
        self.settings.run_dir.join("containers").join(id)
    }

    pub(crate) fn state_dir(&self, id: &str) -> PathBuf {
        self.settings.state_dir.join("containers").join(id)
    }

    pub(crate) fn add(&self, container: &Arc<Container>) {
        let mut all = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(container.id().to_owned(), container.clone());
    }

    /// Forgets a container and its name.
    pub(crate) fn forget(&self, container: &Container) {
        let mut all = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(container.id());
        self.names.free(&container.name(), container.id());
    }

    /// The container of this id, or of the only id that begins so.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<Container>> {
        let all = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.get(id) {
            return Ok(found.clone());
        }
        let mut matches = all.range(id.to_owned()..).take_while(|(full, _)| full.starts_with(id));
        let subject = format!("container {id:?}");
        let Some((_, found)) = matches.next().filter(|_| !id.is_empty()) else {
            return Err(Error::new(Kind::NotFound, subject, "does not exist"));
        };
        if matches.next().is_some() {
            let e = Error::new(Kind::Invalid, subject, "several ids begin so");
            return Err(e.with_advice("write more of the id"));
        }
        Ok(found.clone())
    }

    pub(crate) fn list(&self) -> Vec<Arc<Container>> {
        let all = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }

    pub(crate) fn of_pod(&self, sandbox_id: &str) -> Vec<Arc<Container>> {
        let mut all = self.list();
        all.retain(|container| container.sandbox_id() == sandbox_id);
        all
    }

    pub(crate) fn tell(&self, container: &Container, change: Change) {
        let (id, sandbox_id) = (container.id().to_owned(), container.sandbox_id().to_owned());
        // Without a reader there is nobody to tell.
        let _readers = self.events.send(Event { id, sandbox_id, change, at: sandbox::now() });
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Does work that a caller who goes away does not stop.
    pub(crate) async fn detached<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let lost = |e| Err(Error::new(Kind::Internal, "container", format!("work was lost: {e}")));
        self.begin(work).await.unwrap_or_else(lost)
    }

    /// Does work that goes on though nobody waits for it, until [`Shared::drain`]. Not to be waited for
    /// by other such work, which may be what a drain waits for.
    pub(crate) fn begin<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        let work_lock = self.work.clone();
        tokio::spawn(
            async move {
                let _working = work_lock.read().await;
                work.await
            }
            .in_current_span(),
        )
    }

    /// Waits for all that goes on.
    pub(crate) async fn drain(&self) {
        drop(self.work.write().await);
    }

    /// One call of a shim, under its deadline.
    pub(crate) async fn ask<T>(
        &self,
        container: &str,
        call: impl Future<Output = shim_client::Result<T>>,
    ) -> Result<T> {
        ask(container, self.settings.shim_deadline, call).await
    }
}

/// One call of a shim, under a deadline.
pub(crate) async fn ask<T>(
    container: &str,
    deadline: Duration,
    call: impl Future<Output = shim_client::Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer.map_err(|e| of_shim(container, &e)),
        Err(_) => {
            let cause = format!("its shim gave no answer in {deadline:?}");
            let e = Error::new(Kind::Deadline, format!("container {container:.12}"), cause);
            Err(e.with_advice("look at the pod's shim.log, or stop the pod"))
        }
    }
}

/// What a shim said.
pub(crate) fn of_shim(container: &str, e: &shim_client::Error) -> Error {
    use shim_client::Kind as Said;
    let kind = match e.kind {
        Said::NotFound => Kind::NotFound,
        Said::AlreadyExists => Kind::AlreadyExists,
        Said::Invalid => Kind::Invalid,
        Said::Precondition | Said::Unsupported => Kind::Precondition,
        Said::Deadline => Kind::Deadline,
        Said::Unavailable => Kind::Unavailable,
        Said::Io => Kind::Io,
        Said::Internal => Kind::Internal,
    };
    let cause = format!("{}: {}", e.subject, e.cause);
    Error::new(kind, format!("container {container:.12}"), cause).with_advice(&e.advice)
}
