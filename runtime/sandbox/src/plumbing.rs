//! Attaching pods to networks: what libcni is asked, and what its answers mean for pods.

use crate::conf::Conf;
use crate::network::{Attached, Network};
use crate::record::Planned;
use crate::settings::Settings;
use crate::stage::{Stages, Teller};
use crate::wish::Wish;
use crate::{Error, Kind, Result, space};
use cni_types::{Attachment, CniResult};
use libcni::{Cni, NetworkList, Pod, Programs, Records, Valid};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// First letters of the names of our pods' network namespaces.
pub(crate) const PREFIX: &str = "podloom-";

/// How long one network may be kept waiting for its garbage to be collected.
const GC_WAIT: Duration = Duration::from_secs(10);

/// The way to the networks.
#[derive(Debug)]
pub(crate) struct Plumbing {
    pub(crate) conf: Conf,
    cni: Cni,
    netns_dir: PathBuf,
}

/// What it means that nothing is recorded of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unrecorded {
    /// It was not attached, or was detached already.
    Free,
    /// It was attached, and the record was lost: today's configuration is the next best.
    Lost,
}

/// One interface to be attached.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) list: Arc<NetworkList>,
    pub(crate) ifname: String,
}

impl Plumbing {
    pub(crate) fn new(settings: &Settings, stages: &Arc<Stages>) -> Plumbing {
        let networks = &settings.networks;
        let for_libcni = libcni::Settings {
            plugin_dirs: networks.plugin_dirs.clone(),
            cache_dir: networks.cache_dir.clone(),
            run_dir: settings.run_dir.clone(),
            call_deadline: networks.call_deadline,
            // Pods of an earlier boot are detached or collected by `Sandboxes::open`.
            records: Records::Volatile,
        };
        let observer = Arc::new(Teller(stages.clone()));
        Plumbing {
            conf: Conf::new(networks),
            cni: Cni::with_invoker(for_libcni, Arc::new(Programs), Some(observer)),
            netns_dir: settings.netns_dir.clone(),
        }
    }

    /// The lines of a pod, `eth0` first.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when a network is not there.
    pub(crate) fn lines(&self, wish: &Wish) -> Result<Vec<Line>> {
        if !wish.spaces.net {
            return Ok(Vec::new());
        }
        let first = Line { list: self.conf.default_network()?, ifname: "eth0".to_owned() };
        let mut lines = vec![first];
        for extra in &wish.networks {
            let (list, ifname) = (self.conf.network(&extra.network)?, extra.ifname.clone());
            lines.push(Line { list, ifname });
        }
        Ok(lines)
    }

    /// Attaches the pod in the namespace `netns`. On failure what was attached stays, for
    /// [`Plumbing::detach`].
    ///
    /// # Errors
    /// What plugins say, and a result without an address.
    pub(crate) async fn attach(
        &self,
        (id, wish): (&str, &Wish),
        lines: &[Line],
        netns: &Path,
    ) -> Result<Network> {
        let mut network = Network { netns: Some(netns.to_owned()), ..Network::default() };
        for (index, line) in lines.iter().enumerate() {
            let mut pod = Pod::new(id, &line.ifname, &netns.to_string_lossy())
                .map_err(|e| fault(&wish.name.to_string(), &e))?;
            pod.args = wish.cni_args(id);
            pod.capability_args = wish.capabilities.clone();
            if index > 0 {
                // Ports and addresses of the pod are those of its first interface.
                pod.capability_args.retain(|name, _| {
                    !matches!(name.as_str(), "portMappings" | "ips" | "mac" | "bandwidth")
                });
            }
            let added = self
                .cni
                .add(&line.list, &pod)
                .await
                .map_err(|e| fault(&wish.name.to_string(), &e))?;
            if index == 0 {
                network.ips = addresses(&added.result);
                if network.ips.is_empty() {
                    let cause = format!("network {:?} gave it no address", line.list.name.as_str());
                    return Err(Error::new(Kind::Internal, &wish.name, cause)
                        .with_advice("the first network of a pod needs a plugin for addresses"));
                }
            }
            network.attachments.push(Attached {
                network: line.list.name.as_str().to_owned(),
                ifname: line.ifname.clone(),
                result: added.document.to_string(),
            });
        }
        Ok(network)
    }

    /// Detaches what was planned, last first, as far as it came to be. `netns` is the namespace if
    /// it still is there.
    ///
    /// # Errors
    /// The first failure, the others beside it; every line has been tried.
    pub(crate) async fn detach(
        &self,
        (id, name): (&str, &str),
        (planned, unrecorded): (&[Planned], Unrecorded),
        netns: Option<&Path>,
    ) -> Result<()> {
        let netns = netns.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        let mut errors = Vec::new();
        for line in planned.iter().rev() {
            let outcome = self.detach_one(id, (line, unrecorded), &netns).await;
            errors.extend(outcome.map_err(|e| fault(name, &e)).err());
        }
        Error::join(errors)
    }

    async fn detach_one(
        &self,
        id: &str,
        (line, unrecorded): (&Planned, Unrecorded),
        netns: &str,
    ) -> libcni::Result<()> {
        let attachment = Attachment { container_id: id.to_owned(), ifname: line.ifname.clone() };
        let found = self.cni.del_recorded(&line.network, &attachment, Some(netns)).await;
        let done = match found {
            Ok(Some(done)) => done,
            Ok(None) if unrecorded == Unrecorded::Free => return Ok(()),
            Err(e) if e.kind() != libcni::Kind::Cache => return Err(e),
            // A record that cannot be read is as good as none.
            Ok(None) | Err(_) => {
                let Ok(list) = self.conf.network(&line.network) else { return Ok(()) };
                self.cni.del(&list, &Pod::new(id, &line.ifname, netns)?).await?
            }
        };
        for warning in done.warnings {
            tracing::warn!(pod = id, error = %warning, "detached all the same");
        }
        Ok(())
    }

    /// What is recorded as attached for `id`; for pods whose own record cannot be read.
    ///
    /// # Errors
    /// When the records cannot be listed.
    pub(crate) async fn recorded(&self, id: &str) -> Result<Vec<Planned>> {
        let mut found = Vec::new();
        for record in self.records().await?.into_iter().filter(|r| r.container_id == id) {
            let line = Planned { network: record.network, ifname: record.ifname };
            if !found.contains(&line) {
                found.push(line);
            }
        }
        Ok(found)
    }

    async fn records(&self) -> Result<Vec<libcni::Record>> {
        let listing = self.cni.listing().await.map_err(|e| fault("networks", &e))?;
        let complete = listing.entries.into_iter().filter_map(|entry| match entry {
            libcni::Entry::Record(record) => Some(*record),
            _ => None,
        });
        Ok(complete.chain(listing.unfinished).collect())
    }

    fn is_ours(&self, record: &libcni::Record) -> bool {
        let path = Path::new(&record.netns);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.parent() == Some(&self.netns_dir) && name.starts_with(PREFIX)
    }

    /// Frees what no living pod owns, on every network: `lives` says of an id whether it does.
    /// Attachments of other runtimes stay.
    ///
    /// # Errors
    /// The first failure, the others beside it; everything has been tried.
    pub(crate) async fn collect(&self, lives: &(dyn Fn(&str) -> bool + Send + Sync)) -> Result<()> {
        // A namespace that is there may be another daemon's pod, whose records are elsewhere.
        let keep = |r: &libcni::Record| {
            !self.is_ours(r) || lives(&r.container_id) || space::is_net(Path::new(&r.netns))
        };
        let mut errors = Vec::new();
        // With the configuration of their ADD: theirs may not be the directory's any more.
        for record in self.records().await? {
            if keep(&record) {
                continue;
            }
            let line = Planned { network: record.network.clone(), ifname: record.ifname.clone() };
            let (id, line) = (&record.container_id, (&line, Unrecorded::Free));
            let done = self.detach_one(id, line, "");
            errors.extend(done.await.map_err(|e| fault("networks", &e)).err());
        }
        for list in &self.conf.load()?.lists {
            // It keeps new pods of the network waiting, and so must not wait long itself.
            let valid = Valid::Where(&keep);
            match tokio::time::timeout(GC_WAIT, self.cni.gc(list, &valid)).await {
                Ok(done) => errors.extend(done.map_err(|e| fault("networks", &e)).err()),
                Err(_) => {
                    let subject = format!("network {:?}", list.name.as_str());
                    let cause = format!("garbage was not collected within {GC_WAIT:?}");
                    errors.push(Error::new(Kind::Deadline, subject, cause));
                }
            }
        }
        Error::join(errors)
    }

    /// Asks the plugins of a network whether they can serve.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] and why not.
    pub(crate) async fn status(&self, list: &NetworkList) -> Result<()> {
        self.cni.status(list).await.map_err(|e| Error::new(Kind::Unavailable, "network", e))
    }

    /// Waits for ADDs whose caller went away.
    pub(crate) async fn drain(&self) {
        self.cni.drain().await;
    }
}

/// The addresses of the container's side, as the plugins ordered them.
fn addresses(result: &CniResult) -> Vec<IpAddr> {
    let inside = |index: Option<usize>| match index.and_then(|at| result.interfaces.get(at)) {
        Some(interface) => !interface.sandbox.is_empty(),
        None => true,
    };
    let of_pod = result.ips.iter().filter(|ip| inside(ip.interface));
    of_pod.map(|ip| ip.address.ip()).collect()
}

/// The failure of a pod; libcni's names network, plugin and verb.
fn fault(subject: &str, error: &libcni::Error) -> Error {
    use cni_types::Code;
    let kind = match error.kind() {
        libcni::Kind::Timeout => Kind::Deadline,
        libcni::Kind::Config | libcni::Kind::NoNetwork | libcni::Kind::NoPlugin => {
            Kind::Unavailable
        }
        libcni::Kind::Cache | libcni::Kind::State => Kind::Io,
        libcni::Kind::Plugin => match error.code() {
            Code::TryAgain | Code::NotAvailable | Code::LimitedConnectivity => Kind::Unavailable,
            _ => Kind::Internal,
        },
        _ => Kind::Internal,
    };
    Error::new(kind, subject, error)
}
