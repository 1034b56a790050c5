//! What the pods of a node are made with.

use crate::hooks::{Hooks, NoHooks};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Directories, programs, networks and defaults. All paths are absolute.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where pods keep what ends with the boot, in memory: `sandboxes/<id>` below it.
    pub run_dir: PathBuf,
    /// Where pods keep what survives a boot: `sandboxes/<id>` below it.
    pub state_dir: PathBuf,
    /// Where network namespaces are bound, as `podloom-<first 16 of the id>`.
    pub netns_dir: PathBuf,
    /// The program `podloom-shim`.
    pub shim: PathBuf,
    /// Who makes control groups, for pods and for their containers.
    pub cgroup_driver: cgroup::Driver,
    /// What pods are attached to.
    pub networks: Networks,
    /// Runtime handlers by name. The handler without a name is always there.
    pub handlers: BTreeMap<String, Handler>,
    /// Size of `/dev/shm`, in bytes.
    pub shm_size: u64,
    /// How long one call of the shim may take.
    pub shim_deadline: Duration,
    /// How long containers may take to end once they are killed.
    pub kill_deadline: Duration,
    /// How long a repeated request for a pod waits for the one under way, before it says in which
    /// stage that is.
    pub join_deadline: Duration,
    /// Who may look at pods that are being made.
    pub hooks: Arc<dyn Hooks>,
}

/// The networks of pods.
#[derive(Clone, Debug)]
pub struct Networks {
    /// Configuration lists: `/etc/cni/net.d`.
    pub conf_dir: PathBuf,
    /// Where plugins are looked for, in order.
    pub plugin_dirs: Vec<PathBuf>,
    /// Where libcni keeps results, shared with other runtimes of the node.
    pub cache_dir: PathBuf,
    /// The network of `eth0`; without a name the first usable one by file name.
    pub default: Option<String>,
    /// Networks that every pod has beside it, as `eth1` and so on.
    pub additional: Vec<String>,
    /// Networks that a pod may ask for with the annotation `podloom.dev/networks`.
    pub on_request: Vec<String>,
    /// Whether pods may choose addresses with `podloom.dev/ips` and `podloom.dev/mac`.
    pub addresses_on_request: bool,
    /// How long one call of one plugin may take.
    pub call_deadline: Duration,
}

/// How pods of one runtime handler differ.
#[derive(Clone, Debug, Default)]
pub struct Handler {
    /// Networks beside the default one, after [`Networks::additional`].
    pub networks: Vec<String>,
}

impl Settings {
    /// The defaults of a node.
    pub fn new(shim: PathBuf) -> Settings {
        Settings {
            run_dir: PathBuf::from("/run/podloom"),
            state_dir: PathBuf::from("/var/lib/podloom"),
            netns_dir: PathBuf::from("/run/netns"),
            shim,
            cgroup_driver: cgroup::Driver::Cgroupfs,
            networks: Networks::default(),
            handlers: BTreeMap::new(),
            shm_size: 64 << 20,
            shim_deadline: Duration::from_secs(30),
            kill_deadline: Duration::from_secs(10),
            join_deadline: Duration::from_secs(60),
            hooks: Arc::new(NoHooks),
        }
    }
}

impl Default for Networks {
    fn default() -> Networks {
        Networks {
            conf_dir: PathBuf::from(libcni::DEFAULT_CONF_DIR),
            plugin_dirs: vec![PathBuf::from(libcni::DEFAULT_PLUGIN_DIR)],
            cache_dir: PathBuf::from(libcni::DEFAULT_CACHE_DIR),
            default: None,
            additional: Vec::new(),
            on_request: Vec::new(),
            addresses_on_request: false,
            call_deadline: Duration::from_secs(60),
        }
    }
}
