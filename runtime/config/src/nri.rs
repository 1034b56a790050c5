//! `[nri]`: plugins that look at containers and adjust them.

use crate::Time;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The node resource interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nri {
    /// Take no plugins. Containers that require one are not made then.
    pub disable: bool,
    /// Where plugins connect; nowhere where it is empty.
    pub socket_path: PathBuf,
    /// Where plugins are that the daemon starts, `NN-name`; none where it is empty.
    pub plugin_path: PathBuf,
    /// Their configurations, `NN-name.conf` or `name.conf`.
    pub plugin_config_path: PathBuf,
    /// How long a plugin may take to say who it is.
    pub plugin_registration_timeout: Time,
    /// How long it may take to answer; it is dropped when it does not.
    pub plugin_request_timeout: Time,
    /// How long it may take to hear of all pods and containers that are there.
    pub plugin_synchronization_timeout: Time,
    /// Plugins without which no container is made, by name without index.
    pub required_plugins: Vec<String>,
    /// An annotation with which a pod does without them; none where it is empty.
    pub tolerate_missing_plugins_annotation: String,
    /// Adjustments that are refused.
    pub refused_adjustments: Vec<RefusedAdjustment>,
}

/// What plugins may not adjust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedAdjustment {
    /// Programs at points of a container's life.
    Hooks,
    /// Other namespaces.
    Namespaces,
    /// Kernel parameters.
    Sysctls,
    /// A seccomp filter in place of the runtime's own.
    DefaultSeccomp,
    /// A seccomp filter in place of none.
    UnconfinedSeccomp,
    /// A seccomp filter in place of a file of the node.
    LocalSeccomp,
}

impl Default for Nri {
    fn default() -> Nri {
        Nri {
            disable: false,
            socket_path: PathBuf::from("/var/run/nri/nri.sock"),
            plugin_path: PathBuf::from("/opt/nri/plugins"),
            plugin_config_path: PathBuf::from("/etc/nri/conf.d"),
            plugin_registration_timeout: Time::seconds(5),
            plugin_request_timeout: Time::seconds(2),
            plugin_synchronization_timeout: Time::seconds(10),
            required_plugins: Vec::new(),
            tolerate_missing_plugins_annotation: String::new(),
            refused_adjustments: Vec::new(),
        }
    }
}
