//! All pods of the node.

use crate::asked::Asked;
use crate::events::{Change, Event};
use crate::names::Names;
use crate::plumbing::Plumbing;
use crate::sandbox::Sandbox;
use crate::stage::Stages;
use crate::wish::Name;
use crate::{Error, Kind, Result, Settings, end, make, ready, recover};
use cri_api::v1::{LinuxContainerResources, PodSandboxConfig};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tracing::Instrument;

/// How many events a slow reader may be behind before it loses some.
const EVENTS_KEPT: usize = 1024;

/// All pods of the node. Cheap to clone: all clones are the same.
#[derive(Clone, Debug)]
pub struct Sandboxes {
    pub(crate) shared: Arc<Shared>,
}

/// What a caller asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) config: PodSandboxConfig,
    pub(crate) handler: String,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) boot_id: String,
    /// Whether this process may lower `oom_score_adj`.
    pub(crate) may_protect: bool,
    pub(crate) names: Names<Name, Request>,
    pub(crate) stages: Arc<Stages>,
    pub(crate) plumbing: Plumbing,
    pods: RwLock<BTreeMap<String, Arc<Sandbox>>>,
    events: broadcast::Sender<Event>,
    network: Asked<Same>,
    readiness: Asked<()>,
    /// How many pieces of work go on without a caller.
    work: watch::Sender<usize>,
}

/// A network as it was read; after a change of its file it is another one.
#[derive(Clone, Debug)]
struct Same(Arc<libcni::NetworkList>);

impl PartialEq for Same {
    fn eq(&self, other: &Same) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A piece of work, counted as long as it goes on.
struct Working(Arc<Shared>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.work.send_modify(|count| *count -= 1);
    }
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
    /// What could not be read or undone, or is still being undone; [`Sandboxes::collect`] tries it
    /// again, and so does the next start.
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

/// Runs file and kernel work beside the asynchronous tasks.
///
/// # Errors
/// Those of the work.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(e) => Err(Error::new(Kind::Internal, "file work", e)),
    }
}

/// What is asked again is not kept open by that.
fn closed() -> Error {
    Error::new(Kind::Unavailable, "pods", "are closed")
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Result<Shared> {
        let stages = Arc::new(Stages::default());
        Ok(Shared {
            boot_id: crate::boot::id()?,
            may_protect: crate::boot::may_lower_oom_score()?,
            names: Names::default(),
            plumbing: Plumbing::new(&settings, &stages),
            stages,
            settings,
            pods: RwLock::default(),
            events: broadcast::channel(EVENTS_KEPT).0,
            network: Asked::default(),
            readiness: Asked::default(),
            work: watch::channel(0).0,
        })
    }

    pub(crate) fn run_dir(&self, id: &str) -> PathBuf {
        self.settings.run_dir.join("sandboxes").join(id)
    }

    pub(crate) fn state_dir(&self, id: &str) -> PathBuf {
        self.settings.state_dir.join("sandboxes").join(id)
    }

    pub(crate) fn pod(&self, id: &str) -> Option<Arc<Sandbox>> {
        self.pods.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(crate) fn add(&self, pod: &Arc<Sandbox>) {
        let mut pods = self.pods.write().unwrap_or_else(PoisonError::into_inner);
        pods.insert(pod.id().to_owned(), pod.clone());
    }

    pub(crate) fn drop_pod(&self, pod: &Sandbox) {
        self.pods.write().unwrap_or_else(PoisonError::into_inner).remove(pod.id());
        self.names.free(&pod.name, pod.id());
    }

    pub(crate) fn tell(&self, id: &str, change: Change) {
        let event = Event { id: id.to_owned(), change, at: crate::events::now() };
        // Without a reader there is nobody to tell.
        let _readers = self.events.send(event);
    }

    /// Starts work that no caller can cancel.
    pub(crate) fn detach<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.work.send_modify(|count| *count += 1);
        let working = Working(self.clone());
        tokio::spawn(
            async move {
                let _working = working;
                work.await
            }
            .in_current_span(),
        )
    }

    /// A failure of a shim as one of a pod.
    pub(crate) fn shim_fault(&self, subject: &dyn fmt::Display, e: &shim_client::Error) -> Error {
        use shim_client::Kind as Theirs;
        let kind = match e.kind {
            Theirs::Invalid => Kind::Invalid,
            Theirs::Unavailable => Kind::Unavailable,
            Theirs::Deadline => Kind::Deadline,
            Theirs::Io => Kind::Io,
            _ => Kind::Internal,
        };
        Error::new(kind, subject, format!("{}: {}", e.subject, e.cause)).with_advice(&e.advice)
    }
}

impl Sandboxes {
    /// Takes up the pods of an earlier process: attaches to shims that live, undoes what was half
    /// made, and begins to free what pods of an earlier boot held of the network. A plugin that hangs
    /// keeps it some seconds at most; a shim that does counts as lost.
    ///
    /// # Errors
    /// [`Kind::Io`] when the directories cannot be made or listed. What is wrong with a single pod
    /// is told in [`Recovered::errors`].
    pub async fn open(settings: Settings) -> Result<(Sandboxes, Recovered)> {
        let shared = Arc::new(Shared::new(settings)?);
        let recovered = recover::run(&shared).await?;
        Ok((Sandboxes { shared }, recovered))
    }

    /// What the pods are made with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Makes a pod and returns its id. If the caller goes away the pod is made all the same.
    ///
    /// A second call with the same name, namespace, uid and attempt joins the one under way, and
    /// gets the pod of the first if that one's caller went away, or if an earlier process made it and
    /// may have ended before it answered.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a configuration that cannot be served, [`Kind::AlreadyExists`],
    /// [`Kind::Unavailable`] without a network, [`Kind::Deadline`] and [`Kind::Internal`] for what
    /// plugins do. Everything is undone then; what cannot be undone is listed as a pod that is not
    /// ready, to be stopped and removed.
    pub async fn run(&self, config: PodSandboxConfig, handler: &str) -> Result<String> {
        make::run(&self.shared, config, handler).await
    }

    /// Ends a pod: kills what runs in it, detaches its networks, ends its shim. The caller ends the
    /// containers in their grace time before. Success for a pod that is stopped; a pod that does not
    /// exist is [`Kind::NotFound`].
    ///
    /// # Errors
    /// When a plugin fails: the pod is not ready, and the call can be repeated.
    pub async fn stop(&self, id: &str) -> Result<()> {
        let (pod, shared) = (self.get(id)?, self.shared.clone());
        let work = self.shared.detach(async move { end::stop(&shared, &pod).await });
        work.await.unwrap_or_else(|e| Err(Error::new(Kind::Internal, "stopping a pod", e)))
    }

    /// Forgets a pod, which is stopped first. The caller removes its containers before.
    /// Success for a pod that does not exist.
    ///
    /// # Errors
    /// As [`Sandboxes::stop`]; [`Kind::Io`] for files that cannot be removed.
    pub async fn remove(&self, id: &str) -> Result<()> {
        let pod = match self.get(id) {
            Err(e) if e.kind() == Kind::NotFound => return Ok(()),
            found => found?,
        };
        let shared = self.shared.clone();
        let work = self.shared.detach(async move { end::remove(&shared, &pod).await });
        work.await.unwrap_or_else(|e| Err(Error::new(Kind::Internal, "removing a pod", e)))
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
        let _alone = pod.gate.lock().await;
        let changed = pod.clone();
        blocking(move || {
            changed.change(|status| {
                status.overhead = update.overhead.or(status.overhead.take());
                status.resources = update.resources.or(status.resources.take());
            })
        })
        .await
    }

    /// Whether pods can be attached to the default network; if not, why. Never waits long for a
    /// plugin: while one thinks, its earlier answer counts.
    ///
    /// # Errors
    /// [`Kind::Unavailable`].
    pub async fn network_status(&self) -> Result<()> {
        // Files first: a network that was taken away is gone at once.
        let list = self.shared.plumbing.conf.default_network()?;
        let (weak, about) = (Arc::downgrade(&self.shared), list.clone());
        let find_out = move || {
            let (weak, about) = (weak.clone(), about.clone());
            async move {
                let shared = weak.upgrade().ok_or_else(closed)?;
                shared.plumbing.status(&about).await
            }
        };
        let silence = |waited: Duration| {
            let subject = format!("network {:?}", list.name.as_str());
            let cause = format!("its plugins have not answered STATUS for {waited:.1?}");
            Error::new(Kind::Unavailable, subject, cause)
        };
        self.shared.network.ask(Same(list.clone()), find_out, silence).await
    }

    /// Whether pods can be made, apart from their network: the directories can be written, the shim
    /// is there. If not, why. Never waits long for a file system.
    ///
    /// # Errors
    /// [`Kind::Unavailable`].
    pub async fn runtime_status(&self) -> Result<()> {
        let weak = Arc::downgrade(&self.shared);
        let find_out = move || {
            let weak = weak.clone();
            async move { ready::find_out(weak.upgrade().ok_or_else(closed)?).await }
        };
        let silence = |waited: Duration| {
            let dirs = [&self.shared.settings.run_dir, &self.shared.settings.state_dir];
            let subject = format!("directories {} and {}", dirs[0].display(), dirs[1].display());
            let cause = format!("a file could not be written there for {waited:.1?}");
            Error::new(Kind::Unavailable, subject, cause)
                .with_advice("see whether the disk answers: dmesg")
        };
        self.shared.readiness.ask((), find_out, silence).await
    }

    /// Frees what no pod owns: pods that could not be undone before, and attachments, addresses and
    /// rules on every network. For a timer: it costs a few calls of plugins.
    ///
    /// # Errors
    /// What the plugins report; everything has been tried.
    pub async fn collect(&self) -> Result<()> {
        recover::collect(&self.shared).await
    }

    /// Waits for everything that goes on without a caller.
    pub async fn drain(&self) {
        // The sender lives as long as this.
        let mut working = self.shared.work.subscribe();
        drop(working.wait_for(|count| *count == 0).await);
        self.shared.plumbing.drain().await;
    }
}
