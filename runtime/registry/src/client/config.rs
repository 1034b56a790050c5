//! What an operator can set for all registries.

use std::path::PathBuf;
use std::time::Duration;

use crate::spec::{MAX_CONFIG, MAX_MANIFEST};

/// Settings of a [`crate::Client`]. The defaults suit a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folders with `<host>/hosts.toml`, the first match wins.
    pub certs_d: Vec<PathBuf>,
    /// Docker's `config.json`, read at each pull; `None` for no such file.
    pub docker_config: Option<PathBuf>,
    /// Name of this program for registries.
    pub user_agent: String,
    /// Deadline of connecting with name look-up and TLS, unless the host's `dial_timeout` says otherwise.
    pub connect_timeout: Duration,
    /// Deadline from a request to the head of its answer.
    pub response_timeout: Duration,
    /// Deadline between two pieces of a body.
    pub idle_timeout: Duration,
    /// Deadline of a whole blob, waits for the reader left out; `None` for no bound but the minimum rate.
    pub total_timeout: Option<Duration>,
    /// A blob that arrives slower than this many bytes a second fails; 0 switches the check off.
    pub min_rate: u64,
    /// The time over which the rate is measured.
    pub rate_window: Duration,
    /// How often a request or a broken transfer is tried again without progress in between.
    pub retries: u32,
    /// Wait before the first retry; each further one waits twice as long.
    pub backoff: Duration,
    /// Longest wait that a `Retry-After` may ask for.
    pub max_wait: Duration,
    /// Largest manifest or index, in bytes, at most [`MAX_MANIFEST`].
    pub max_manifest: u64,
    /// Largest image configuration, in bytes.
    pub max_config: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            certs_d: vec![
                PathBuf::from("/etc/podloom/certs.d"),
                PathBuf::from("/etc/containerd/certs.d"),
            ],
            docker_config: None,
            user_agent: concat!("podloom/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            total_timeout: None,
            min_rate: 10 << 10,
            rate_window: Duration::from_secs(30),
            retries: 5,
            backoff: Duration::from_millis(200),
            max_wait: Duration::from_secs(30),
            max_manifest: MAX_MANIFEST,
            max_config: MAX_CONFIG,
        }
    }
}
