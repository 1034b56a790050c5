//! What the containers of a node are made with.

use crate::hooks::{Hooks, NoHooks};
use shim_protocol::Runtime;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Directories, defaults, bounds. All paths are absolute.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where containers keep what ends with the boot, in memory: `containers/<id>` below it.
    pub run_dir: PathBuf,
    /// Where containers keep what survives a boot: `containers/<id>` below it.
    pub state_dir: PathBuf,
    /// Runtime handlers by name. Without one by the empty name, the default handler is
    /// [`Handler::default`].
    pub handlers: BTreeMap<String, Handler>,
    /// Capabilities of containers that ask for none, without `CAP_`.
    pub capabilities: Vec<String>,
    /// Variables of every container, `KEY=value`; those of the image and the container win.
    pub env: Vec<String>,
    /// Limits of processes, as `RLIMIT_NOFILE`, soft, hard. Others are the daemon's own.
    pub rlimits: Vec<(String, u64, u64)>,
    /// Profile file for `RuntimeDefault`, JSON of the runtime specification; the built-in profile
    /// without it.
    pub seccomp_profile: Option<PathBuf>,
    /// Directory of `localhost` profiles that are named by a relative path: kubelet's.
    pub seccomp_dir: PathBuf,
    /// AppArmor profile of containers that ask for `RuntimeDefault` or for nothing; unconfined without
    /// it. [`DEFAULT_PROFILE`](crate::DEFAULT_PROFILE) is made and loaded where AppArmor is enabled,
    /// another one must be loaded.
    pub apparmor_profile: Option<String>,
    /// Whether mounts and processes get SELinux labels, where the kernel has it.
    pub selinux: bool,
    /// Directories of CDI files; those of a later one win.
    pub cdi_dirs: Vec<PathBuf>,
    /// Sources of mounts that are refused instead of being made when they are missing.
    pub absent_sources_to_refuse: Vec<PathBuf>,
    /// Size of a log in bytes at which no more is written until it is rotated; 0 for none.
    pub log_max_bytes: u64,
    /// Bytes of output that are taken from a container each second; 0 for any number.
    pub log_max_rate: u64,
    /// How long what a finished command left behind may keep its output open.
    pub exec_drain: Duration,
    /// Bytes of output that `exec_sync` keeps, both streams together; the rest is read and dropped.
    /// The default leaves room for the answer's frame within 16 MiB.
    pub exec_output: usize,
    /// How long a killed container may take to end.
    pub kill_deadline: Duration,
    /// How long one call of a shim may take.
    pub shim_deadline: Duration,
    /// Who may look at and adjust containers.
    pub hooks: Arc<dyn Hooks>,
}

/// How containers of one runtime handler are made.
#[derive(Clone, Debug, Default)]
pub struct Handler {
    /// The OCI runtime; for the built-in one the pod's control group driver is filled in.
    pub runtime: Runtime,
    /// Annotations of the pod and the container that the runtime is told: a name, or its beginning
    /// with `*`.
    pub annotations: Vec<String>,
    /// Privileged containers get no devices of the node.
    pub privileged_without_devices: bool,
}

/// Capabilities that containers have in the field, without `CAP_`.
const CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            run_dir: PathBuf::from("/run/podloom"),
            state_dir: PathBuf::from("/var/lib/podloom"),
            handlers: BTreeMap::new(),
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            env: Vec::new(),
            rlimits: Vec::new(),
            seccomp_profile: None,
            seccomp_dir: PathBuf::from("/var/lib/kubelet/seccomp"),
            apparmor_profile: None,
            selinux: false,
            cdi_dirs: vec![PathBuf::from("/etc/cdi"), PathBuf::from("/var/run/cdi")],
            absent_sources_to_refuse: Vec::new(),
            log_max_bytes: 0,
            log_max_rate: 0,
            exec_drain: Duration::from_millis(500),
            exec_output: (16 << 20) - 4096,
            kill_deadline: Duration::from_secs(10),
            shim_deadline: Duration::from_secs(60),
            hooks: Arc::new(NoHooks),
        }
    }
}
