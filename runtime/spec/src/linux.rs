//! What is particular to Linux: config-linux.md.

use crate::wire::{is_false, nullable};
use crate::{IdMapping, Resources, Seccomp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is particular to Linux (config-linux.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// User IDs of a new user namespace.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group IDs of a new user namespace.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
    /// Kernel parameters, of namespaces only.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<String, String>,
    /// Limits by control groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Control group: a path, or `slice:prefix:name` with the systemd driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroups_path: Option<String>,
    /// Namespaces to make or to join; others are the runtime's.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
    /// Devices beyond the default ones.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Network devices of the host to move in, by their name there.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub net_devices: BTreeMap<String, NetDevice>,
    /// Filter of system calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// Propagation of the root: `private`, `slave`, `shared`, `unbindable`, or with an `r` in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs_propagation: Option<String>,
    /// Paths that the container shall not see.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub masked_paths: Vec<String>,
    /// Paths that the container shall not write.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub readonly_paths: Vec<String>,
    /// SELinux label of mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_label: Option<String>,
    /// Cache and memory bandwidth by resctrl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdt>,
    /// NUMA policy, as of set_mempolicy(2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy>,
    /// Execution domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality: Option<Personality>,
    /// Offsets of the clocks `monotonic` and `boottime`, in a new time namespace.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

/// A namespace to make, or to join by its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// Which.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// The one to join; made when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// Kinds of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NamespaceKind {
    /// Processes.
    #[serde(rename = "pid")]
    Pid,
    /// Network.
    #[serde(rename = "network")]
    Network,
    /// Mounts.
    #[serde(rename = "mount")]
    Mount,
    /// System V IPC and POSIX message queues.
    #[serde(rename = "ipc")]
    Ipc,
    /// Host and domain name.
    #[serde(rename = "uts")]
    Uts,
    /// User and group IDs.
    #[serde(rename = "user")]
    User,
    /// Control groups.
    #[serde(rename = "cgroup")]
    Cgroup,
    /// Clocks.
    #[serde(rename = "time")]
    Time,
}

impl NamespaceKind {
    /// All values.
    pub const ALL: &'static [NamespaceKind] = &[
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Mount,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::User,
        NamespaceKind::Cgroup,
        NamespaceKind::Time,
    ];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            NamespaceKind::Pid => "pid",
            NamespaceKind::Network => "network",
            NamespaceKind::Mount => "mount",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::User => "user",
            NamespaceKind::Cgroup => "cgroup",
            NamespaceKind::Time => "time",
        }
    }
}

/// A device file to make (config-linux.md, Devices).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Path in the container.
    pub path: PathBuf,
    /// Kind.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
    /// Major number; not of pipes.
    #[serde(default)]
    pub major: i64,
    /// Minor number; not of pipes.
    #[serde(default)]
    pub minor: i64,
    /// Mode; without it 0666 is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Owner in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// Kinds of device files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Any kind; only in rules of control groups.
    #[serde(rename = "a")]
    All,
    /// Character device.
    #[serde(rename = "c")]
    Char,
    /// Unbuffered character device.
    #[serde(rename = "u")]
    Unbuffered,
    /// Block device.
    #[serde(rename = "b")]
    Block,
    /// Named pipe.
    #[serde(rename = "p")]
    Pipe,
}

impl DeviceKind {
    /// All values.
    pub const ALL: &'static [DeviceKind] = &[
        DeviceKind::All,
        DeviceKind::Char,
        DeviceKind::Unbuffered,
        DeviceKind::Block,
        DeviceKind::Pipe,
    ];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            DeviceKind::All => "a",
            DeviceKind::Char => "c",
            DeviceKind::Unbuffered => "u",
            DeviceKind::Block => "b",
            DeviceKind::Pipe => "p",
        }
    }
}

/// A network device of the host to move in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetDevice {
    /// Name in the container; as on the host when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Cache and memory bandwidth (config-linux.md, IntelRdt).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntelRdt {
    /// Name of the class of service.
    #[serde(rename = "closID", default, skip_serializing_if = "Option::is_none")]
    pub clos_id: Option<String>,
    /// Schema of the L3 cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema: Option<String>,
    /// Schema of the memory bandwidth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema: Option<String>,
    /// Lines of the `schemata` file.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// Whether a monitoring group is made.
    #[serde(default, skip_serializing_if = "is_false")]
    pub enable_monitoring: bool,
}

/// NUMA memory policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryPolicy {
    /// Policy.
    pub mode: MemoryPolicyMode,
    /// Nodes, as a list such as `0-1,3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// Flags.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<MemoryPolicyFlag>,
}

/// Modes of a memory policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MemoryPolicyMode {
    /// That of the parent.
    #[serde(rename = "MPOL_DEFAULT")]
    Default,
    /// One node first.
    #[serde(rename = "MPOL_PREFERRED")]
    Preferred,
    /// Only these nodes.
    #[serde(rename = "MPOL_BIND")]
    Bind,
    /// Round robin.
    #[serde(rename = "MPOL_INTERLEAVE")]
    Interleave,
    /// The node of the processor.
    #[serde(rename = "MPOL_LOCAL")]
    Local,
    /// These nodes first.
    #[serde(rename = "MPOL_PREFERRED_MANY")]
    PreferredMany,
    /// Round robin by weight.
    #[serde(rename = "MPOL_WEIGHTED_INTERLEAVE")]
    WeightedInterleave,
}

impl MemoryPolicyMode {
    /// All values.
    pub const ALL: &'static [MemoryPolicyMode] = &[
        MemoryPolicyMode::Default,
        MemoryPolicyMode::Preferred,
        MemoryPolicyMode::Bind,
        MemoryPolicyMode::Interleave,
        MemoryPolicyMode::Local,
        MemoryPolicyMode::PreferredMany,
        MemoryPolicyMode::WeightedInterleave,
    ];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            MemoryPolicyMode::Default => "MPOL_DEFAULT",
            MemoryPolicyMode::Preferred => "MPOL_PREFERRED",
            MemoryPolicyMode::Bind => "MPOL_BIND",
            MemoryPolicyMode::Interleave => "MPOL_INTERLEAVE",
            MemoryPolicyMode::Local => "MPOL_LOCAL",
            MemoryPolicyMode::PreferredMany => "MPOL_PREFERRED_MANY",
            MemoryPolicyMode::WeightedInterleave => "MPOL_WEIGHTED_INTERLEAVE",
        }
    }
}

/// Flags of a memory policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MemoryPolicyFlag {
    /// The kernel may balance.
    #[serde(rename = "MPOL_F_NUMA_BALANCING")]
    NumaBalancing,
    /// Nodes are relative to those allowed.
    #[serde(rename = "MPOL_F_RELATIVE_NODES")]
    RelativeNodes,
    /// Nodes are absolute.
    #[serde(rename = "MPOL_F_STATIC_NODES")]
    StaticNodes,
}

impl MemoryPolicyFlag {
    /// All values.
    pub const ALL: &'static [MemoryPolicyFlag] = &[
        MemoryPolicyFlag::NumaBalancing,
        MemoryPolicyFlag::RelativeNodes,
        MemoryPolicyFlag::StaticNodes,
    ];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            MemoryPolicyFlag::NumaBalancing => "MPOL_F_NUMA_BALANCING",
            MemoryPolicyFlag::RelativeNodes => "MPOL_F_RELATIVE_NODES",
            MemoryPolicyFlag::StaticNodes => "MPOL_F_STATIC_NODES",
        }
    }
}

/// Execution domain, as of personality(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// Flags; the specification defines none yet.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// Offset of a clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeOffset {
    /// Seconds.
    #[serde(default)]
    pub secs: i64,
    /// Nanoseconds.
    #[serde(default)]
    pub nanosecs: u32,
}
