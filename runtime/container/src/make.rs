//! Making a container.

use crate::container::{CONFIG, Container};
use crate::events::Change;
use crate::hooks::Peer;
use crate::record::{RECORD, Record};
use crate::shared::Shared;
use crate::spec::{self, Access, Bind, Identity, Inputs, OfPod, Pid};
use crate::wish::{PidWish, Wish};
use crate::{
    Error, Handler, Kind, Result, cdi, confine, devices, end, rootfs, signal, sources, volumes,
    watch,
};
use cri_api::v1::{ContainerConfig, ContainerState, PodSandboxConfig};
use image::{Digest, ImageConfig};
use runtime_spec::Spec;
use sandbox::names::{Turn, new_id, told};
use sandbox::{Sandbox, blocking, disk};
use shim_client::Shim;
use shim_protocol::{CgroupDriver, Create, Log, Runtime, Stdio};
use snapshot::SnapshotKind;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

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
            let job = Job { shared: shared.clone(), id, wish, pod, shim };
            let made = shared.clone();
            let making = made.detached(async move {
                sender.send_replace(Some(job.run().await));
                Ok(())
            });
            making.await?;
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
}

/// What a container is made of, found on the node.
struct Found {
    container: Arc<Container>,
    image: Digest,
    config: ImageConfig,
    handler: Handler,
    pid: Pid,
}

impl Job {
    async fn run(&self) -> Result<String> {
        let name = self.wish.name(&self.pod);
        let found = match self.find().await {
            Ok(found) => found,
            Err(e) => {
                self.shared.names.free(&name, &self.id);
                return Err(e);
            }
        };
        let container = found.container.clone();
        let failed = match self.build(found).await {
            Ok(()) => {
                self.shared.add(&container);
                self.shared.names.made(&name, &self.id);
                self.shared.tell(&container, Change::Created);
                let peer = Peer { pod: &self.pod, container: &container };
                if let Err(e) = self.shared.settings.hooks.created(peer).await {
                    tracing::warn!(container = self.id, error = %e, "a hook after creation failed");
                }
                return Ok(self.id.clone());
            }
            Err(e) => e,
        };
        tracing::warn!(container = self.id, name = %name, error = %failed, "container was not made");
        let undone = end::undo(&self.shared, &container, Some(&self.shim)).await;
        let peer = Peer { pod: &self.pod, container: &container };
        if let Err(e) = self.shared.settings.hooks.undone(peer).await {
            tracing::warn!(container = self.id, error = %e, "a hook after the undoing failed");
        }
        match undone {
            Ok(()) => {
                self.shared.names.free(&name, &self.id);
                Err(failed)
            }
            Err(e) => {
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
                self.shared.add(&container);
                self.shared.names.made(&name, &self.id);
                self.shared.names.told(&name);
                Err(failed.and([e]).and(noted))
            }
        }
    }

    /// Looks everything up. Has no effect.
    async fn find(&self) -> Result<Found> {
        let handler = self.handler()?;
        let pid = self.pid()?;
        let (images, text) = (self.shared.images.clone(), self.wish.image.clone());
        let (image, config) = blocking(move || {
            let image = sources::image_of(&images, &text)?.id;
            let config = images.config(&image);
            let config =
                config.map_err(|e| Error::new(Kind::Invalid, format!("image {image}"), e))?;
            Ok((image, config))
        })
        .await?;
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

    fn handler(&self) -> Result<Handler> {
        let name = self.pod.handler();
        match (self.shared.settings.handlers.get(name), name) {
            (Some(handler), _) => Ok(handler.clone()),
            (None, "") => Ok(Handler::default()),
            (None, _) => {
                let subject = format!("runtime handler {name:?}");
                let e = Error::new(Kind::Invalid, subject, "is not configured any more");
                Err(e.with_advice("configure it again, or remove the pod"))
            }
        }
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
            config: Some(self.wish.config.clone()),
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

    async fn build(&self, found: Found) -> Result<()> {
        let (container, handler) = (found.container.clone(), found.handler.clone());
        let (shared, wish, pod) = (self.shared.clone(), self.wish.clone(), self.pod.clone());
        let (images, id, image) = (shared.images.clone(), self.id.clone(), found.image.clone());
        // The lease is made durable meanwhile. Both to their end: they are undone together.
        let (made, leased) = tokio::join!(
            blocking(move || prepare(&shared, &wish, &pod, &found)),
            blocking(move || lease(&images, &id, &image))
        );
        let (spec, identity) = made?;
        leased?;
        let peer = Peer { pod: &self.pod, container: &container };
        let adjusted = self.shared.settings.hooks.create(peer, spec).await?;
        self.place(&container, &adjusted.spec).await?;
        let path = container.run_dir().join(CONFIG);
        let text = serde_json::to_vec(&adjusted.spec);
        let text = text.map_err(|e| Error::new(Kind::Internal, path.display(), e))?;
        // In memory, and small: not worth another thread.
        disk::replace(&path, &text, CONFIG_MODE).map_err(|e| Error::io(path.display(), &e))?;
        watch::listen(&self.shared, &self.pod, &self.shim);
        let create = self.order(&container, handler);
        let created = self.shared.ask(&self.id, self.shim.create(&create)).await?;
        for warning in &created.warnings {
            tracing::warn!(container = self.id, warning, "odd configuration");
        }
        let process = adjusted.spec.process.unwrap_or_default();
        let _first = container.process.set(Arc::new(process));
        let written = container.change(|status| {
            status.pid = created.pid;
            if let Some(adjusted) = &adjusted.resources {
                let asked = status.resources.take().unwrap_or_default();
                status.resources = Some(spec::merged(&asked, adjusted));
            }
            (status.uid, status.gid) = (identity.uid, identity.gid);
            status.groups = identity.groups;
            true
        });
        written.await.map(drop)
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

    /// What the shim is told.
    fn order(&self, container: &Container, handler: Handler) -> Create {
        let systemd = container.record.systemd;
        let runtime = match handler.runtime {
            Runtime::BuiltIn(mut built_in) => {
                built_in.cgroups = Some(match systemd {
                    true => CgroupDriver::Systemd,
                    false => CgroupDriver::Cgroupfs,
                });
                built_in
                    .filters
                    .get_or_insert_with(|| self.shared.settings.run_dir.join("filters"));
                Runtime::BuiltIn(built_in)
            }
            Runtime::Program(mut program) => {
                program.systemd = systemd;
                Runtime::Program(program)
            }
        };
        let (config, settings) = (&self.wish.config, &self.shared.settings);
        let log = container.log_path().map(|path| Log {
            path: path.to_owned(),
            max_bytes: settings.log_max_bytes,
            max_rate: settings.log_max_rate,
        });
        let stdio =
            Stdio { terminal: config.tty, stdin: config.stdin, stdin_once: config.stdin_once, log };
        Create { id: self.id.clone(), bundle: container.run_dir().to_owned(), runtime, stdio }
    }
}

/// Keeps the image on disk while the container is there. Blocks.
fn lease(images: &image::ImageService, id: &str, image: &Digest) -> Result<()> {
    let leased = images.lease(id, &format!("container {id}"), image);
    leased.map_err(|e| Error::new(Kind::Io, format!("lease of image {image}"), e))
}

/// Everything on disk, and the configuration. Blocks.
fn prepare(shared: &Shared, wish: &Wish, pod: &Sandbox, found: &Found) -> Result<(Spec, Identity)> {
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
