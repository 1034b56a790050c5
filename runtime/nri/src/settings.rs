//! What the interface is opened with.

use std::path::PathBuf;
use std::time::Duration;

/// Paths, times, and what must hold for a container to be made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What plugins are told that this is.
    pub version: String,
    /// Where plugins connect; `None`: nowhere.
    pub socket: Option<PathBuf>,
    /// Where plugins are that this starts by itself, `NN-name`; `None`: none are.
    pub plugin_dir: Option<PathBuf>,
    /// Their configurations: `NN-name.conf`, or `name.conf`.
    pub config_dir: PathBuf,
    /// How long a plugin may take to say who it is.
    pub registration: Duration,
    /// How long it may take to answer.
    pub request: Duration,
    /// How long it may take to hear what is there.
    pub synchronization: Duration,
    /// Plugins without which no container is made, by name.
    pub required: Vec<String>,
    /// An annotation with which a pod does without the required plugins.
    pub tolerate: Option<String>,
    /// Adjustments that are refused.
    pub refused: Vec<Refused>,
    /// Directories of CDI files.
    pub cdi_dirs: Vec<PathBuf>,
}

/// Adjustments that a node may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Programs at points of a container's life.
    Hooks,
    /// Other namespaces.
    Namespaces,
    /// Kernel parameters.
    Sysctls,
    /// A filter of system calls in place of the runtime's own.
    DefaultSeccomp,
    /// A filter of system calls in place of none.
    UnconfinedSeccomp,
    /// A filter of system calls in place of a file of this node.
    LocalSeccomp,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            socket: Some(PathBuf::from("/var/run/nri/nri.sock")),
            plugin_dir: Some(PathBuf::from("/opt/nri/plugins")),
            config_dir: PathBuf::from("/etc/nri/conf.d"),
            registration: Duration::from_secs(5),
            request: Duration::from_secs(2),
            synchronization: Duration::from_secs(10),
            required: Vec::new(),
            tolerate: None,
            refused: Vec::new(),
            cdi_dirs: vec![PathBuf::from("/etc/cdi"), PathBuf::from("/var/run/cdi")],
        }
    }
}
