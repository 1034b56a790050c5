//! All containers of the node.

#[cfg(doc)]
use crate::Kind;
use crate::container::Container;
use crate::events::Event;
use crate::process::{Attach, Exec, Output, Process};
use crate::shared::Shared;
use crate::{
    Error, Hooks, Result, Settings, apparmor, attach, end, exec, exec_sync, make, recover, start,
};
use cri_api::v1::{ContainerConfig, LinuxContainerResources, PodSandboxConfig};
use image::ImageService;
use sandbox::Sandboxes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// All containers of the node. Cheap to clone: all clones are the same.
#[derive(Clone, Debug)]
pub struct Containers {
    pub(crate) shared: Arc<Shared>,
}

/// What [`Containers::open`] came upon.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Containers that went on.
    pub running: Vec<String>,
    /// Containers that ended while no daemon was there.
    pub exited: Vec<String>,
    /// Containers that were half made or half removed, and are gone now.
    pub undone: Vec<String>,
    /// What could not be read or undone; it stays, and is tried again at the next start.
    pub errors: Vec<Error>,
}

/// New limits and annotations of a container.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Limits; fields that are zero or empty stay as they are.
    pub resources: Option<LinuxContainerResources>,
    /// Annotations, put over those that it has.
    pub annotations: BTreeMap<String, String>,
}

impl Containers {
    /// Takes up the containers of an earlier process: asks the shims of live pods, reads what dead
    /// ones recorded, undoes what was half made.
    ///
    /// # Errors
    /// [`Kind::Io`] when the directories cannot be made or listed. What is wrong with a single
    /// container is told in [`Recovered::errors`].
    pub async fn open(
        settings: Settings,
        pods: Sandboxes,
        images: ImageService,
    ) -> Result<(Containers, Recovered)> {
        let shared = Arc::new(Shared::new(settings, pods, images)?);
        apparmor::begin(&shared);
        let recovered = recover::recover(&shared).await?;
        Ok((Containers { shared }, recovered))
    }

    /// What the containers are made with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The pods that the containers are in.
    pub fn pods(&self) -> &Sandboxes {
        &self.shared.pods
    }

    /// The images that they are made of.
    pub fn images(&self) -> &ImageService {
        &self.shared.images
    }

    /// Who may look at and adjust containers, and pods as well.
    pub fn hooks(&self) -> &dyn Hooks {
        &*self.shared.settings.hooks
    }

    /// Makes a container in a pod and returns its id. If the caller goes away it is made all the
    /// same. `pod` is the pod's configuration as the caller knows it; where it is given, its log
    /// directory is the one that counts.
    ///
    /// A second call with the same pod, name and attempt joins the one under way, and gets the
    /// container of the first if that one's caller went away, or if an earlier process made it and
    /// may have ended before it answered.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for the pod or the image, [`Kind::Precondition`] for a pod that is not
    /// ready, [`Kind::Invalid`] for a configuration that cannot be served, [`Kind::AlreadyExists`];
    /// what the kernel or the shim said. Everything is undone then.
    pub async fn create(
        &self,
        sandbox_id: &str,
        config: ContainerConfig,
        pod: Option<PodSandboxConfig>,
    ) -> Result<String> {
        make::create(&self.shared, sandbox_id, config, pod).await
    }

    /// Starts a container's process.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Precondition`] unless it was only just created;
    /// [`Kind::Invalid`] or [`Kind::Io`] when its program cannot be executed: it has ended then, with
    /// status 128.
    pub async fn start(&self, id: &str) -> Result<()> {
        start::start(&self.shared, id).await
    }

    /// Asks a container to end by its stop signal, and kills it after `grace`; at once when that is
    /// zero. Success for one that has ended.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Deadline`] when not even killing ends it.
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<()> {
        end::stop(&self.shared, id, grace).await
    }

    /// Removes a container, which is killed first if it runs. Success for one that does not exist.
    /// Its log stays.
    ///
    /// # Errors
    /// [`Kind::Deadline`] when killing does not end it; [`Kind::Io`] for what cannot be removed.
    pub async fn remove(&self, id: &str) -> Result<()> {
        end::remove(&self.shared, id).await
    }

    /// Kills all containers of a pod that run, at once, before the pod is stopped. Success for a
    /// pod that has none.
    ///
    /// # Errors
    /// [`Kind::Deadline`] when not even killing ends one.
    pub async fn stop_all(&self, sandbox_id: &str) -> Result<()> {
        end::stop_all(&self.shared, sandbox_id).await
    }

    /// Removes all containers of a pod.
    ///
    /// # Errors
    /// As [`Containers::remove`], for each of them.
    pub async fn remove_all(&self, sandbox_id: &str) -> Result<()> {
        end::remove_all(&self.shared, sandbox_id).await
    }

    /// The container of this id, or of the only id that begins so.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Invalid`] when several ids begin so.
    pub fn get(&self, id: &str) -> Result<Arc<Container>> {
        self.shared.get(id)
    }

    /// All containers, by id.
    pub fn list(&self) -> Vec<Arc<Container>> {
        self.shared.list()
    }

    /// All containers of a pod, whose full id is given.
    pub fn of_pod(&self, sandbox_id: &str) -> Vec<Arc<Container>> {
        self.shared.of_pod(sandbox_id)
    }

    /// Changes limits and annotations of a container that has not ended.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Precondition`] for one that has ended, [`Kind::Invalid`] for a
    /// limit that the node cannot set; the limits are then as before.
    pub async fn update(&self, id: &str, update: Update) -> Result<()> {
        crate::update::update(&self.shared, id, update).await
    }

    /// Sets limits of a container for a hook, without asking hooks. Fields that are zero or empty stay
    /// as they are.
    ///
    /// # Errors
    /// As [`Containers::update`].
    pub async fn set_limits(&self, id: &str, resources: &LinuxContainerResources) -> Result<()> {
        crate::update::set_limits(&self.shared, id, resources).await
    }

    /// Runs a command in a container and waits for its end, at most `timeout`. What it leaves
    /// behind does not hold the answer up for longer than [`Settings::exec_drain`].
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Precondition`] unless the container runs, [`Kind::Invalid`] or
    /// [`Kind::Io`] when the program cannot be executed, [`Kind::Deadline`]: it was killed then.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<Output> {
        exec_sync::run(&self.shared, id, command, timeout).await
    }

    /// Runs a command in a container, with streams.
    ///
    /// # Errors
    /// As [`Containers::exec_sync`], but for the deadline.
    pub async fn exec(&self, id: &str, exec: Exec) -> Result<Process> {
        exec::exec(&self.shared, id, exec).await
    }

    /// Attaches to the streams of a container's own process. Before the container is started is the time
    /// for whoever wants all of its output.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Precondition`] for one that has ended.
    pub async fn attach(&self, id: &str, attach: Attach) -> Result<Process> {
        attach::attach(&self.shared, id, attach).await
    }

    /// Opens the log of a container anew, at its path, because the old file was renamed.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Precondition`] unless it runs; the file cannot be made.
    pub async fn reopen_log(&self, id: &str) -> Result<()> {
        attach::reopen_log(&self.shared, id).await
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events()
    }

    /// Waits for everything that goes on without a caller.
    pub async fn drain(&self) {
        self.shared.drain().await;
    }
}
