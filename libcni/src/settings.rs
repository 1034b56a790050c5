//! What an instance of the library works with.

use crate::cache::DEFAULT_CACHE_DIR;
use std::path::PathBuf;
use std::time::Duration;

/// Where distributions and installers put plugins by convention.
pub const DEFAULT_PLUGIN_DIR: &str = "/opt/cni/bin";

/// The run directory where `PODLOOM_RUN_DIR` says nothing else; emptied at each boot.
const DEFAULT_RUN_DIR: &str = "/run/podloom";

/// Directories and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where plugins are looked for, in order: `CNI_PATH`.
    pub plugin_dirs: Vec<PathBuf>,
    /// Where results are kept, in `results` below it; shared with other runtimes of the node.
    pub cache_dir: PathBuf,
    /// Where locks and the notes on unfinished operations are kept. It should be in memory.
    pub run_dir: PathBuf,
    /// How long one call of one plugin may take before it is killed.
    pub call_deadline: Duration,
    /// What of the records must outlive a loss of power.
    pub records: Records,
}

/// What of the cache's records must outlive a loss of power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Records {
    /// Every record, before ADD returns: two calls of fsync.
    #[default]
    Synced,
    /// None. For a runtime that collects garbage when it starts: what was attached before the
    /// node went down is freed then, recorded or not.
    Volatile,
}

impl Default for Settings {
    /// `/opt/cni/bin`, `/var/lib/cni`, `PODLOOM_RUN_DIR` or `/run/podloom`, 60 s.
    fn default() -> Settings {
        let run = std::env::var_os("PODLOOM_RUN_DIR").filter(|dir| !dir.is_empty());
        Settings {
            plugin_dirs: vec![PathBuf::from(DEFAULT_PLUGIN_DIR)],
            cache_dir: PathBuf::from(DEFAULT_CACHE_DIR),
            run_dir: run.map_or_else(|| PathBuf::from(DEFAULT_RUN_DIR), PathBuf::from),
            call_deadline: Duration::from_secs(60),
            records: Records::default(),
        }
    }
}
