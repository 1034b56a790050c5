//! What happens to containers, for who wants to know.

/// Something that happened to a container. Delivered after its status says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The container.
    pub id: String,
    /// Its pod.
    pub sandbox_id: String,
    /// What happened.
    pub change: Change,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made, and waits for its start.
    Created,
    /// Its process was started.
    Started,
    /// Its process ended.
    Stopped,
    /// It was removed.
    Deleted,
}
