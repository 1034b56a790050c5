//! What is written down of a pod: a record that never changes, and a status that is replaced.

use crate::network::{Attached, Network};
use cri_api::v1::{LinuxContainerResources, PodSandboxConfig};
use prost::{Enumeration, Message};
use std::net::IpAddr;
use std::path::PathBuf;

/// Written before the first effect; from it a pod can be undone, however far it came.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Record {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(message, required, tag = "2")]
    pub(crate) config: PodSandboxConfig,
    #[prost(string, tag = "3")]
    pub(crate) handler: String,
    /// In nanoseconds since 1970.
    #[prost(int64, tag = "4")]
    pub(crate) created_at: i64,
    /// Where the network namespace is bound; empty on the node's network.
    #[prost(string, tag = "5")]
    pub(crate) netns: String,
    /// The shim's directory.
    #[prost(string, tag = "6")]
    pub(crate) run_dir: String,
    /// What is or was to be attached; the first is `eth0`.
    #[prost(message, repeated, tag = "7")]
    pub(crate) planned: Vec<Planned>,
    #[prost(string, tag = "8")]
    pub(crate) cgroup_parent: String,
    /// Whether that control group is ours to remove.
    #[prost(bool, tag = "9")]
    pub(crate) cgroup_is_own: bool,
    #[prost(enumeration = "CgroupDriver", tag = "10")]
    pub(crate) cgroup_driver: i32,
    #[prost(string, tag = "11")]
    pub(crate) hostname: String,
    /// Names of the shim's namespaces: what of `ipc`, `uts`, `pid`, `user` the pod has of its own.
    #[prost(string, repeated, tag = "12")]
    pub(crate) spaces: Vec<String>,
    /// Where `/dev/shm` is; empty for the node's.
    #[prost(string, tag = "13")]
    pub(crate) shm: String,
}

/// Who makes control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum CgroupDriver {
    Cgroupfs = 0,
    Systemd = 1,
}

/// An attachment to be.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Planned {
    #[prost(string, tag = "1")]
    pub(crate) network: String,
    #[prost(string, tag = "2")]
    pub(crate) ifname: String,
}

/// Written when the pod is complete and whenever it changes. A pod without one was half made.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(string, tag = "1")]
    pub(crate) boot_id: String,
    #[prost(bool, tag = "2")]
    pub(crate) ready: bool,
    #[prost(string, tag = "3")]
    pub(crate) reason: String,
    #[prost(string, repeated, tag = "4")]
    pub(crate) ips: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) attachments: Vec<Done>,
    /// Nothing of it is left but its records: no process, no network, no namespaces.
    #[prost(bool, tag = "6")]
    pub(crate) stopped: bool,
    #[prost(message, optional, tag = "7")]
    pub(crate) overhead: Option<LinuxContainerResources>,
    #[prost(message, optional, tag = "8")]
    pub(crate) resources: Option<LinuxContainerResources>,
}

/// An attachment that came to be.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Done {
    #[prost(string, tag = "1")]
    pub(crate) network: String,
    #[prost(string, tag = "2")]
    pub(crate) ifname: String,
    /// JSON.
    #[prost(string, tag = "3")]
    pub(crate) result: String,
}

impl From<cgroup::Driver> for CgroupDriver {
    fn from(driver: cgroup::Driver) -> CgroupDriver {
        match driver {
            cgroup::Driver::Cgroupfs => CgroupDriver::Cgroupfs,
            cgroup::Driver::Systemd => CgroupDriver::Systemd,
        }
    }
}

impl From<CgroupDriver> for cgroup::Driver {
    fn from(driver: CgroupDriver) -> cgroup::Driver {
        match driver {
            CgroupDriver::Cgroupfs => cgroup::Driver::Cgroupfs,
            CgroupDriver::Systemd => cgroup::Driver::Systemd,
        }
    }
}

impl Record {
    pub(crate) fn netns(&self) -> Option<PathBuf> {
        Some(PathBuf::from(&self.netns)).filter(|path| !path.as_os_str().is_empty())
    }

    pub(crate) fn has(&self, space: &str) -> bool {
        self.spaces.iter().any(|own| own == space)
    }
}

impl Status {
    /// Takes over what the plugins brought about.
    pub(crate) fn set_network(&mut self, network: &Network) {
        self.ips = network.ips.iter().map(ToString::to_string).collect();
        let done = |a: &Attached| Done {
            network: a.network.clone(),
            ifname: a.ifname.clone(),
            result: a.result.clone(),
        };
        self.attachments = network.attachments.iter().map(done).collect();
    }

    /// What the plugins brought about, for a pod whose namespace is at `netns`.
    pub(crate) fn network(&self, netns: Option<PathBuf>) -> Network {
        let attached = |done: &Done| Attached {
            network: done.network.clone(),
            ifname: done.ifname.clone(),
            result: done.result.clone(),
        };
        Network {
            netns: netns.filter(|_| !self.stopped),
            ips: self.ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()).collect(),
            attachments: self.attachments.iter().map(attached).collect(),
        }
    }
}
