//! How a pod comes to be.
//!
//! The record comes first: whatever is made after it is found again by it. The shim and the network
//! are made side by side, since neither needs the other, unless a user namespace owns the network's.

use crate::names::{Outcome, Turn, new_id, told};
use crate::network::Network;
use crate::plumbing::{Line, PREFIX};
use crate::record::{CgroupDriver, Planned, Record};
use crate::sandbox::{RECORD, Sandbox};
use crate::sandboxes::{Request, Shared, blocking};
use crate::wish::{Which, Wish};
use crate::{Change, Error, Kind, Result, disk, files, space};
use cri_api::v1::PodSandboxConfig;
use shim_client::protocol::{IdMapping, IdMappings, MakeNamespaces};
use shim_client::{Shim, Spawn};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// Digits of the id in the name of the network namespace.
const NETNS_DIGITS: usize = 16;

/// The shim must outlive what it holds when memory runs out.
const SHIM_OOM_SCORE: i32 = -999;

/// Makes the pod that is asked for, or waits for who makes it.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    config: PodSandboxConfig,
    handler: &str,
) -> Result<String> {
    let request = Arc::new(Request { config: config.clone(), handler: handler.to_owned() });
    let wish = Wish::parse(config, handler, &shared.settings)?;
    let (id, name) = (new_id()?, wish.name.clone());
    match shared.names.take(&name, &id, request)? {
        Turn::Take(id) => Ok(id),
        Turn::Join { id, outcome } => {
            let joined = tokio::time::timeout(shared.settings.join_deadline, told(outcome)).await;
            if let Ok(outcome) = joined {
                shared.names.told(&name);
                return outcome;
            }
            let stage = shared.stages.describe(&id);
            let cause = format!("is being made by an earlier call, {stage}");
            Err(Error::new(Kind::Deadline, &name, cause).with_advice("ask again"))
        }
        Turn::Make(sender) => {
            let outcome = sender.subscribe();
            let work = Job { shared: shared.clone(), id, wish };
            // A task of its own, so that a caller who goes away stops nothing.
            shared.detach(async move { work.run(sender).await });
            let outcome = told(outcome).await;
            shared.names.told(&name);
            outcome
        }
    }
}

/// One pod to make.
struct Job {
    shared: Arc<Shared>,
    id: String,
    wish: Wish,
}

impl Job {
    async fn run(self, sender: watch::Sender<Outcome>) {
        let (shared, id, name) = (&self.shared, &self.id, &self.wish.name);
        let outcome = self.make().await;
        shared.stages.clear(id);
        if let Err(e) = &outcome {
            tracing::warn!(pod = id, name = %name, error = %e, "pod was not made");
            // One that could not be undone is listed, and whoever lists it will remove it.
            if shared.pod(id).is_none() {
                shared.names.free(name, id);
            }
        }
        let outcome = outcome.map(|()| id.clone());
        sender.send_replace(Some(outcome));
    }

    async fn make(&self) -> Result<()> {
        let lines = self.shared.plumbing.lines(&self.wish)?;
        let record = self.record(&lines)?;
        let state_dir = self.shared.state_dir(&self.id);
        let pod = Arc::new(Sandbox::new(record, state_dir)?);
        let outcome = self.build(&pod, &lines).await;
        let failed = match outcome {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        self.shared.stages.set(&self.id, "undoing what was made");
        let undone = crate::end::undo(&self.shared, &pod).await;
        if let Err(e) = self.shared.settings.hooks.undone(&pod).await {
            tracing::warn!(pod = self.id, error = %e, "a hook after the undoing failed");
        }
        match undone {
            Ok(()) => Err(failed),
            Err(e) => {
                // Kept, so that its name is told and what is left can be freed by stop and remove.
                let reason = format!("could not be made: {failed}; nor undone: {e}");
                let noted = pod.change(|status| {
                    status.boot_id.clone_from(&self.shared.boot_id);
                    status.reason = reason;
                });
                self.publish(&pod);
                self.shared.names.told(&self.wish.name);
                Err(failed.and([e]).and(noted.err()))
            }
        }
    }

    /// From here on others see the pod. Its name is its own by then: who sees it may remove it.
    fn publish(&self, pod: &Arc<Sandbox>) {
        self.shared.names.made(&self.wish.name, &self.id);
        self.shared.add(pod);
    }

    fn record(&self, lines: &[Line]) -> Result<Record> {
        let (settings, wish) = (&self.shared.settings, &self.wish);
        let run_dir = self.shared.run_dir(&self.id);
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let netns = settings.netns_dir.join(format!("{PREFIX}{}", &self.id[..NETNS_DIGITS]));
        let planned = |line: &Line| Planned {
            network: line.list.name.as_str().to_owned(),
            ifname: line.ifname.clone(),
        };
        let hostname = match &wish.hostname {
            Some(name) => name.clone(),
            None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let own_parent = || match settings.cgroup_driver {
            cgroup::Driver::Cgroupfs => format!("/podloom/{}", self.id),
            cgroup::Driver::Systemd => "podloom.slice".to_owned(),
        };
        Ok(Record {
            id: self.id.clone(),
            config: wish.config.clone(),
            handler: wish.handler.clone(),
            created_at: crate::events::now(),
            netns: if wish.spaces.net { text(netns) } else { String::new() },
            shm: if wish.spaces.ipc { text(run_dir.join("shm")) } else { String::new() },
            run_dir: text(run_dir),
            planned: lines.iter().map(planned).collect(),
            cgroup_parent: wish.cgroup_parent.clone().unwrap_or_else(own_parent),
            cgroup_is_own: wish.cgroup_parent.is_none()
                && settings.cgroup_driver == cgroup::Driver::Cgroupfs,
            cgroup_driver: CgroupDriver::from(settings.cgroup_driver).into(),
            hostname,
            spaces: wish.spaces.of_shim(),
        })
    }

    async fn build(&self, pod: &Arc<Sandbox>, lines: &[Line]) -> Result<()> {
        let stages = &self.shared.stages;
        stages.set(&self.id, "writing its record");
        self.write_down(pod).await?;
        tracing::trace!(pod = self.id, step = "recorded");
        let network = match (&self.wish.spaces.user, self.wish.spaces.net) {
            (Some(_), _) => {
                self.start_shim(pod).await?;
                self.attach(pod, lines).await?
            }
            (None, true) => {
                // Both to their end: what goes on in a thread could not be undone.
                let (shim, network) =
                    tokio::join!(self.start_shim(pod), self.make_network(pod, lines));
                shim?;
                network?
            }
            (None, false) => {
                self.start_shim(pod).await?;
                Network::default()
            }
        };
        tracing::trace!(pod = self.id, step = "built");
        self.shared.stages.set(&self.id, "asking who may look at it");
        self.shared.settings.hooks.run(pod, &network).await?;
        self.finish(pod, network).await
    }

    /// The directories and the record.
    async fn write_down(&self, pod: &Arc<Sandbox>) -> Result<()> {
        let (pod, wish) = (pod.clone(), self.wish.clone());
        blocking(move || {
            disk::make_dir(&pod.state_dir)?;
            disk::write(&pod.state_dir.join(RECORD), &pod.record)?;
            let netns = pod.record.netns();
            let of_netns = netns.as_deref().and_then(Path::parent);
            for dir in of_netns.into_iter().chain(wish.log_directory.as_deref()) {
                std::fs::create_dir_all(dir).map_err(|e| Error::io(dir.display(), &e))?;
            }
            Ok(())
        })
        .await
    }

    async fn start_shim(&self, pod: &Arc<Sandbox>) -> Result<()> {
        let settings = &self.shared.settings;
        let spawn = Spawn {
            program: settings.shim.clone(),
            dir: pod.run_dir.clone(),
            id: self.id.clone(),
            cgroup: None,
            oom_score_adj: Some(SHIM_OOM_SCORE).filter(|_| self.shared.may_protect),
        };
        self.shared.stages.set(&self.id, "starting its shim");
        let started = async {
            let shim = Shim::spawn(&spawn).await?;
            pod.set_shim(Some(shim.clone()));
            tracing::trace!(pod = self.id, step = "shim");
            shim.make_namespaces(&self.namespaces(pod)).await?;
            tracing::trace!(pod = self.id, step = "namespaces");
            Ok::<_, shim_client::Error>(())
        };
        match tokio::time::timeout(settings.shim_deadline, started).await {
            Ok(done) => done.map_err(|e| self.shared.shim_fault(&self.wish.name, &e))?,
            Err(_) => {
                let cause = format!("its shim gave no answer in {:?}", settings.shim_deadline);
                return Err(Error::new(Kind::Deadline, &self.wish.name, cause));
            }
        }
        self.fill(pod).await
    }

    /// What containers have mounted, but for what the network says. Beside the network, which takes
    /// longer.
    async fn fill(&self, pod: &Arc<Sandbox>) -> Result<()> {
        let (filled, resolv_conf) = (pod.clone(), self.wish.resolv_conf.clone());
        let (size, owner) = (self.shared.settings.shm_size, self.root_of_pod());
        blocking(move || {
            files::write_early(&filled.files, resolv_conf.as_deref(), filled.hostname())?;
            match filled.record.shm.is_empty() {
                true => Ok(()),
                false => space::make_shm(&filled.files.shm, size, owner),
            }
        })
        .await?;
        tracing::trace!(pod = self.id, step = "files");
        Ok(())
    }

    /// What the pod's root is on the node.
    fn root_of_pod(&self) -> (u32, u32) {
        let Some(ids) = &self.wish.spaces.user else { return (0, 0) };
        let root = |ranges: &[crate::IdRange]| {
            ranges.iter().find(|r| r.container == 0).map_or(0, |r| r.host)
        };
        (root(&ids.uids), root(&ids.gids))
    }

    fn namespaces(&self, pod: &Sandbox) -> MakeNamespaces {
        let spaces = &self.wish.spaces;
        let mapping =
            |r: &crate::IdRange| IdMapping { container: r.container, host: r.host, size: r.length };
        let user = spaces.user.as_ref().map(|ids| IdMappings {
            uids: ids.uids.iter().map(mapping).collect(),
            gids: ids.gids.iter().map(mapping).collect(),
        });
        let of_shim = |which| which != Which::Net || user.is_some();
        let sysctls = self.wish.sysctls.iter().filter(|s| of_shim(s.which));
        MakeNamespaces {
            net: pod.record.netns().filter(|_| user.is_some()),
            ipc: pod.record.has("ipc"),
            uts: pod.record.has("uts"),
            pid: pod.record.has("pid"),
            hostname: self.wish.hostname.clone(),
            sysctls: sysctls.map(|s| (s.key.clone(), s.value.clone())).collect(),
            user,
        }
    }

    async fn make_network(&self, pod: &Arc<Sandbox>, lines: &[Line]) -> Result<Network> {
        let (path, sysctls) = (pod.record.netns().unwrap_or_default(), self.wish.sysctls.clone());
        blocking(move || space::make_net(&path, &sysctls)).await?;
        tracing::trace!(pod = self.id, step = "netns");
        self.attach(pod, lines).await
    }

    async fn attach(&self, pod: &Arc<Sandbox>, lines: &[Line]) -> Result<Network> {
        let netns = pod.record.netns().unwrap_or_default();
        let call = (self.id.as_str(), &self.wish);
        let network = self.shared.plumbing.attach(call, lines, Path::new(&netns)).await?;
        tracing::trace!(pod = self.id, step = "attached");
        Ok(network)
    }

    /// The last files; from here on the pod is there.
    async fn finish(&self, pod: &Arc<Sandbox>, network: Network) -> Result<()> {
        let (pod, shared) = (pod.clone(), self.shared.clone());
        let linux = self.wish.config.linux.clone().unwrap_or_default();
        let written = pod.clone();
        blocking(move || {
            let ips = written.record.netns().map(|_| network.ips.as_slice());
            files::write_hosts(&written.files, written.hostname(), ips)?;
            written.change(|status| {
                status.boot_id.clone_from(&shared.boot_id);
                status.ready = true;
                status.overhead = linux.overhead;
                status.resources = linux.resources;
                status.set_network(&network);
            })
        })
        .await?;
        tracing::trace!(pod = self.id, step = "ready");
        self.publish(&pod);
        self.shared.settings.hooks.made(&pod);
        crate::watch::begin(&self.shared, &pod);
        self.shared.tell(&self.id, Change::Ready);
        Ok(())
    }
}
