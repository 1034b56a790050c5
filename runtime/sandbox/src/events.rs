//! What happens to pods, for who wants to know.

/// Something that happened to a pod. Delivered after the pod's record says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The pod.
    pub id: String,
    /// What happened.
    pub change: Change,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}

/// What happened to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is ready for containers.
    Ready,
    /// It is stopped: no process, no network, no shim.
    Stopped,
    /// Its shim ended by itself, for this reason. Its containers must be ended by their control
    /// groups; the network stays until the pod is stopped.
    ShimLost(String),
    /// It is removed.
    Removed,
}

/// Now, in nanoseconds since 1970.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or_default()
}
