//! Making a container.

use crate::container::{CONFIG, Container};
use crate::events::Change;
use crate::hooks::Peer;
use crate::making::{self, Begun};
use crate::record::{RECORD, Record};
use crate::shared::Shared;
use crate::spec::{self, Access, Bind, Identity, Inputs, OfPod, Pid};
use crate::wish::{PidWish, Wish};
use crate::{
    Error, Handler, Kind, Result, cdi, confine, devices, end, rootfs, signal, sources, volumes,
};
use cri_api::v1::{ContainerConfig, ContainerState, LinuxContainerResources, PodSandboxConfig};
use image::{Digest, ImageConfig};
use oci::Bundle;
use runtime_spec::Spec;
use sandbox::names::{Outcome, Turn, new_id, told};
use sandbox::{Sandbox, blocking, disk};
use shim_client::Shim;
use shim_protocol::{Create, Runtime};
use snapshot::SnapshotKind;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Mode of a bundle's configuration: it may hold secrets of the environment.
const CONFIG_MODE: u32 = 0o600;

/// Makes the container that is asked for, or waits for who makes it.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    sandbox_id: &str,
    config: ContainerConfig,
    pod_config: Option<PodSandboxConfig>,
) -> Result<String> {
    let pod = shared.pods.get(sandbox_id)?;
    let shim = pod.shim()?;
    let log_dir = pod_config.map(|config| config.log_directory).filter(|dir| !dir.is_empty());
    let log_dir = log_dir.unwrap_or_else(|| pod.config().log_directory.clone());
    let wish = Wish::parse(config.clone(), &log_dir)?;
    let (id, name) = (new_id()?, wish.name(&pod));
    match shared.names.take(&name, &id, Arc::new(config))? {
        Turn::Take(id) => Ok(id),
        Turn::Join { outcome, .. } => told(outcome).await,
        Turn::Make(sender) => {
            let outcome = sender.subscribe();
            let begun = OnceLock::new();
            let job = Arc::new(Job { shared: shared.clone(), id, wish, pod, shim, begun });
            // It goes on when the answer is known, and whatever becomes of the caller.
            drop(shared.begin(job.run(sender)));
            let outcome = told(outcome).await;
            shared.names.told(&name);
            outcome
        }
    }
}

/// One container to make.
struct Job {
    shared: Arc<Shared>,
    id: String,
    wish: Wish,
    pod: Arc<Sandbox>,
    shim: Shim,
    /// Set before anything of it is made.
    begun: OnceLock<Arc<Container>>,
}

/// What a container is made of, found on the node.
struct Found {
    container: Arc<Container>,
    image: Digest,
    config: ImageConfig,
    handler: Handler,
    pid: Pid,
}

/// What a container's status says when it is made, beside its state.
struct Fresh {
    identity: Identity,
    /// Limits that a hook wants.
    adjusted: Option<LinuxContainerResources>,
}

/// A container whose files are there, but for its bundle: hooks may adjust that.
struct Prepared {
    container: Arc<Container>,
    /// Makes the lease of its image durable.
    leasing: JoinHandle<Result<()>>,
    planned: Planned,
}

/// What the shim is to make.
struct Planned {
    order: Create,
    bundle: Bundle,
    identity: Identity,
    /// What the runtime thinks of the bundle.
    checked: Result<()>,
}

impl Job {
    /// Makes it; `teller` hears the outcome as soon as it is certain.
    async fn run(self: Arc<Self>, teller: watch::Sender<Outcome>) {
        let name = self.wish.name(&self.pod);
        let job = self.clone();
        let failed = match blocking(move || job.prepare()).await {
            Ok(prepared) => self.make(prepared, &teller).await.err(),
            Err(e) => Some(e),
        };
        let Some(failed) = failed else { return };
        let failed = match self.begun.get() {
            Some(container) => {
                tracing::warn!(container = self.id, name = %name, error = %failed, "container was not made");
                self.undo(container, failed).await
            }
            None => {
                self.shared.names.free(&name, &self.id);
                failed
            }
        };
        teller.send_replace(Some(Err(failed)));
    }

    /// Finds what it is made of, and makes its files. Blocks.
    fn prepare(&self) -> Result<Prepared> {
        let found = self.find()?;
        let (images, id, image) =
            (self.shared.images.clone(), self.id.clone(), found.image.clone());
        let _first = self.begun.set(found.container.clone());
        // The lease is made durable meanwhile.
        let leasing = tokio::task::spawn_blocking(move || lease(&images, &id, &image));
        match self.plan(&found) {
            Ok(planned) => Ok(Prepared { container: found.container, leasing, planned }),
            Err(e) => {
                // To its end: it is undone with the rest.
                let _leased = Handle::current().block_on(leasing);
                Err(e)
            }
        }
    }

    fn plan(&self, found: &Found) -> Result<Planned> {
        let (spec, identity) = compose(&self.shared, &self.wish, &self.pod, found)?;
        let order = making::order(&self.shared, &found.container)?;
        let bundle = making::bundle(&found.container, spec)?;
        let checked = making::check(&found.container, &order, &bundle);
        Ok(Planned { order, bundle, identity, checked })
    }

    /// Makes it. When it was checked and all is written down it is there, and its creator is told; then
    /// the making of its process is awaited, which goes on meanwhile.
    ///
    /// # Errors
    /// It was refused, or could not be written down. Nobody was told of it then.
    async fn make(&self, prepared: Prepared, teller: &watch::Sender<Outcome>) -> Result<()> {
        let Prepared { container, leasing, planned } = prepared;
        let container = &container;
        let laid = self.lay(container, planned).await;
        let leased = async { leasing.await.map_err(|e| Error::new(Kind::Internal, "lease", e))? };
        let (order, fresh) = match laid {
            Ok(laid) => laid,
            Err(e) => {
                let _leased = leased.await;
                return Err(e);
            }
        };
        crate::watch::listen(&self.shared, &self.pod, &self.shim);
        let begun = Begun::new(container);
        let making = self.shared.ask(&order.id, self.shim.create(&order));
        // Both to their end: they are undone together.
        let (made, told) = tokio::join!(making, async {
            leased.await?;
            self.write(container, fresh).await?;
            self.tell(container, teller).await;
            Ok(())
        });
        told?;
        begun.end(&self.shared, &self.shim, made).await;
        Ok(())
    }

    /// Lists it, and tells everybody.
    async fn tell(&self, container: &Arc<Container>, teller: &watch::Sender<Outcome>) {
        self.shared.add(container);
        self.shared.names.made(&self.wish.name(&self.pod), &self.id);
        self.shared.tell(container, Change::Created);
        let peer = Peer { pod: &self.pod, container };
        if let Err(e) = self.shared.settings.hooks.created(peer).await {
            tracing::warn!(container = self.id, error = %e, "a hook after creation failed");
        }
        teller.send_replace(Some(Ok(self.id.clone())));
    }

    /// Writes its first status, with which it is whole.
    async fn write(&self, container: &Arc<Container>, fresh: Fresh) -> Result<()> {
        let written = container.change(|status| {
            if let Some(adjusted) = &fresh.adjusted {
                let asked = status.resources.take().unwrap_or_default();
                status.resources = Some(spec::merged(&asked, adjusted));
            }
            (status.uid, status.gid) = (fresh.identity.uid, fresh.identity.gid);
            status.groups = fresh.identity.groups;
            true
        });
        written.await.map(drop)
    }

    /// Undoes what failed, and returns the failure with what the undoing adds to it.
    async fn undo(&self, container: &Arc<Container>, failed: Error) -> Error {
        let name = container.name();
        let undone = end::undo(&self.shared, container, Some(&self.shim)).await;
        let peer = Peer { pod: &self.pod, container };
        if let Err(e) = self.shared.settings.hooks.undone(peer).await {
            tracing::warn!(container = self.id, error = %e, "a hook after the undoing failed");
        }
        let Err(e) = undone else {
            self.shared.names.free(&name, &self.id);
            return failed;
        };
        // Kept, so that whoever lists it removes it.
        let reason = format!("could not be made: {failed}; nor undone: {e}");
        let noted = container.change(|status| {
            status.boot_id.clone_from(&self.shared.node.boot_id);
            status.set_state(ContainerState::ContainerUnknown);
            status.reason = "CreateContainerError".to_owned();
            status.message = reason;
            true
        });
        let noted = noted.await.err();
        self.shared.add(container);
        self.shared.names.made(&name, &self.id);
        self.shared.names.told(&name);
        failed.and([e]).and(noted)
    }

    /// Looks everything up. Has no effect. Blocks.
    fn find(&self) -> Result<Found> {
        let handler = making::handler(&self.shared, self.pod.handler())?;
        let pid = self.pid()?;
        let images = &self.shared.images;
        let image = sources::image_of(images, &self.wish.image)?.id;
        let config = images.config(&image);
        let config = config.map_err(|e| Error::new(Kind::Invalid, format!("image {image}"), e))?;
        let record = self.record(&image, &config, &pid)?;
        let container = Arc::new(Container::new(record, self.shared.state_dir(&self.id))?);
        container.restore(crate::record::Stored {
            boot_id: self.shared.node.boot_id.clone(),
            resources: self.wish.config.linux.as_ref().and_then(|linux| linux.resources.clone()),
            annotations: self.wish.config.annotations.clone().into_iter().collect(),
            ..Default::default()
        });
        Ok(Found { container, image, config, handler, pid })
    }

    fn pid(&self) -> Result<Pid> {
        let of_pod = &self.pod.namespaces().pid;
        Ok(match (&self.wish.pid, of_pod) {
            (PidWish::Own, _) | (PidWish::Pod, sandbox::Pid::Container) => Pid::Own,
            (PidWish::Pod, sandbox::Pid::Pod(path)) => Pid::Join(path.clone()),
            (PidWish::Pod, sandbox::Pid::Node) | (PidWish::Node, _) => Pid::Node,
            (PidWish::Target(id), _) => {
                let target = self.shared.get(id)?;
                let status = target.status();
                let wrong = |cause| {
                    Err(Error::new(Kind::Precondition, format!("target container {id:?}"), cause))
                };
                if target.sandbox_id() != self.pod.id() {
                    return wrong("is in another pod");
                }
                if status.state != ContainerState::ContainerRunning || status.pid <= 0 {
                    return wrong("does not run");
                }
                Pid::Join(PathBuf::from(format!("/proc/{}/ns/pid", status.pid)))
            }
        })
    }

    fn record(&self, image: &Digest, config: &ImageConfig, pid: &Pid) -> Result<Record> {
        let of_image = |wanted: &&spec::Wanted| matches!(wanted.origin, spec::Origin::Image { .. });
        let volumes = self.wish.mounts.iter().filter(of_image).count();
        let asked = self.wish.config.stop_signal();
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        Ok(Record {
            id: self.id.clone(),
            sandbox_id: self.pod.id().to_owned(),
            config: self.wish.config.clone(),
            handler: self.pod.handler().to_owned(),
            image_id: image.to_string(),
            created_at: sandbox::now(),
            log_path: self.wish.log_path.clone().map(text).unwrap_or_default(),
            cgroups_path: self.pod.cgroups_path(&self.id),
            systemd: self.pod.cgroup_driver() == cgroup::Driver::Systemd,
            stop_signal: signal::of_stop(asked, config.container.stop_signal.as_deref())?,
            run_dir: text(self.shared.run_dir(&self.id)),
            shim_dir: text(self.pod.run_dir().to_owned()),
            volumes: u32::try_from(volumes).unwrap_or(u32::MAX),
            shares_pids: *pid != Pid::Own,
        })
    }

    /// Has hooks adjust it, and lays down its bundle.
    async fn lay(&self, container: &Arc<Container>, planned: Planned) -> Result<(Create, Fresh)> {
        let Planned { order, mut bundle, identity, mut checked } = planned;
        let peer = Peer { pod: &self.pod, container };
        let adjusted = self.shared.settings.hooks.create(peer, bundle.spec.clone()).await?;
        self.place(container, &adjusted.spec).await?;
        if adjusted.spec != bundle.spec {
            bundle = making::bundle(container, adjusted.spec)?;
            let (container, order, own) = (container.clone(), order.clone(), bundle.clone());
            checked = blocking(move || making::check(&container, &order, &own)).await;
        }
        checked?;
        let path = container.run_dir().join(CONFIG);
        // In memory, and small: not worth another thread.
        let written = disk::replace(&path, bundle.text(), CONFIG_MODE);
        written.map_err(|e| Error::io(path.display(), &e))?;
        let hooks = bundle.spec.hooks.as_ref();
        let is_watched = hooks.is_some_and(|hooks| !hooks.poststop.is_empty());
        let is_built_in = matches!(order.runtime, Runtime::BuiltIn(_));
        let _first = container.parts_freely.set(is_built_in && !is_watched);
        let process = bundle.spec.process.unwrap_or_default();
        let _first = container.process.set(Arc::new(process));
        Ok((order, Fresh { identity, adjusted: adjusted.resources }))
    }

    /// Notes the control group that a hook wants instead, so that whoever undoes the container finds
    /// it.
    async fn place(&self, container: &Arc<Container>, spec: &Spec) -> Result<()> {
        let path = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.clone());
        let Some(path) = path.filter(|path| path != container.cgroups_path()) else {
            return Ok(());
        };
        let placed = container.clone();
        blocking(move || {
            let record = Record { cgroups_path: path.clone(), ..placed.record.clone() };
            disk::write(&placed.state_dir().join(RECORD), &record)?;
            // Nobody else sets it: the container is being made.
            let _first = placed.placed.set(path);
            Ok(())
        })
        .await
    }
}

/// Keeps the image on disk while the container is there. Blocks.
fn lease(images: &image::ImageService, id: &str, image: &Digest) -> Result<()> {
    let leased = images.lease(id, &format!("container {id}"), image);
    leased.map_err(|e| Error::new(Kind::Io, format!("lease of image {image}"), e))
}

/// Everything on disk, and the configuration. Blocks.
fn compose(shared: &Shared, wish: &Wish, pod: &Sandbox, found: &Found) -> Result<(Spec, Identity)> {
    let container = &found.container;
    let (id, settings, images) = (container.id(), &shared.settings, &shared.images);
    disk::make_dir(container.state_dir())?;
    disk::write(&container.state_dir().join(RECORD), &container.record)?;
    disk::make_dir(container.run_dir())?;
    let user = pod.namespaces().user.as_ref();
    let rootfs = container.rootfs();
    let (kind, image) = (SnapshotKind::Active, &found.image);
    rootfs::mount(images, &rootfs::Wanted { name: id, image, kind, user, target: &rootfs })?;
    let tree = rootfs::Tree::open(&rootfs)?;
    let accounts = tree.accounts()?;
    let identity = spec::identity(&wish.context, &found.config.container.user, &accounts)?;
    let run_dir = container.run_dir();
    let shim = &shared.pods.settings().shim;
    let sources = sources::Sources { images, settings, shim, id, run_dir, user };
    let mut binds = sources.binds(&wish.mounts)?;
    let own = volumes::Volumes { of_image: &found.config.container.volumes, tree: &tree, user };
    binds.extend(own.fill(container.state_dir(), &binds)?);
    let mut granted = devices::granted(&wish.devices)?;
    if wish.context.privileged && !found.handler.privileged_without_devices {
        let all = devices::all()?;
        let known = |path| granted.iter().any(|own| own.device.path == path);
        let more: Vec<_> = all.into_iter().filter(|d| !known(d.device.path.clone())).collect();
        granted.extend(more);
    }
    let confined = confine::confine(&wish.context, settings, &shared.node)?;
    let inputs = Inputs {
        settings,
        handler: &found.handler,
        config: &wish.config,
        pod: of_pod(shared, wish, pod, found),
        image: &found.config.container,
        identity: &identity,
        confined,
        limits: shared.node.limits,
        rootfs: &rootfs,
        binds: &binds,
        devices: &granted,
    };
    let mut spec = spec::build(&inputs)?;
    cdi::apply(&mut spec, cdi::edits(&settings.cdi_dirs, &wish.cdi)?)?;
    Ok((spec, identity))
}

fn of_pod<'a>(shared: &Shared, wish: &Wish, pod: &'a Sandbox, found: &Found) -> OfPod<'a> {
    let (spaces, files) = (pod.namespaces(), pod.files());
    let access = match wish.context.readonly_rootfs {
        true => Access::Read,
        false => Access::Write,
    };
    let binds = vec![
        Bind::new(&files.shm, "/dev/shm", Access::Write),
        Bind::new(&files.resolv_conf, "/etc/resolv.conf", access),
        Bind::new(&files.hostname, "/etc/hostname", access),
        Bind::new(&files.hosts, "/etc/hosts", access),
    ];
    let annotations: BTreeMap<_, _> = pod.config().annotations.clone().into_iter().collect();
    OfPod {
        id: pod.id(),
        metadata: pod.metadata(),
        annotations,
        hostname: pod.hostname(),
        namespaces: spec::Namespaces {
            net: spaces.net.clone(),
            ipc: spaces.ipc.clone(),
            uts: spaces.uts.clone(),
            pid: found.pid.clone(),
            user: spaces.user.clone(),
            cgroup: shared.node.unified && !wish.context.privileged,
        },
        cgroups_path: found.container.record.cgroups_path.clone(),
        files: binds,
    }
}
