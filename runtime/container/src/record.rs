//! What is written down of a container: a record that never changes, and a status that is replaced.

use crate::container::Status;
use cri_api::v1::{ContainerConfig, ContainerState, LinuxContainerResources};
use prost::Message;
use std::collections::BTreeMap;

/// File of the record.
pub(crate) const RECORD: &str = "record";

/// File of the status.
pub(crate) const STATUS: &str = "status";

/// Written before the first effect; from it a container can be undone, however far it came.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Record {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) sandbox_id: String,
    #[prost(message, required, tag = "3")]
    pub(crate) config: ContainerConfig,
    #[prost(string, tag = "4")]
    pub(crate) handler: String,
    #[prost(string, tag = "5")]
    pub(crate) image_id: String,
    /// In nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    pub(crate) created_at: i64,
    /// Empty for none.
    #[prost(string, tag = "7")]
    pub(crate) log_path: String,
    #[prost(string, tag = "8")]
    pub(crate) cgroups_path: String,
    #[prost(bool, tag = "9")]
    pub(crate) systemd: bool,
    #[prost(int32, tag = "10")]
    pub(crate) stop_signal: i32,
    #[prost(string, tag = "11")]
    pub(crate) run_dir: String,
    /// The pod's shim, to find exits by.
    #[prost(string, tag = "12")]
    pub(crate) shim_dir: String,
    /// Images that are mounted as volumes: how many.
    #[prost(uint32, tag = "13")]
    pub(crate) volumes: u32,
    /// The container's processes are in a PID namespace with others.
    #[prost(bool, tag = "14")]
    pub(crate) shares_pids: bool,
}

/// Written when the container is complete and whenever it changes. One without was half made.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Stored {
    #[prost(string, tag = "1")]
    pub(crate) boot_id: String,
    #[prost(enumeration = "ContainerState", tag = "2")]
    pub(crate) state: i32,
    #[prost(int32, tag = "3")]
    pub(crate) pid: i32,
    #[prost(int64, tag = "4")]
    pub(crate) started_at: i64,
    #[prost(int64, tag = "5")]
    pub(crate) finished_at: i64,
    #[prost(int32, tag = "6")]
    pub(crate) exit_code: i32,
    #[prost(string, tag = "7")]
    pub(crate) reason: String,
    #[prost(string, tag = "8")]
    pub(crate) message: String,
    #[prost(message, optional, tag = "9")]
    pub(crate) resources: Option<LinuxContainerResources>,
    #[prost(btree_map = "string, string", tag = "10")]
    pub(crate) annotations: BTreeMap<String, String>,
    /// Its removal was begun.
    #[prost(bool, tag = "11")]
    pub(crate) removing: bool,
    #[prost(uint32, tag = "12")]
    pub(crate) uid: u32,
    #[prost(uint32, tag = "13")]
    pub(crate) gid: u32,
    #[prost(uint32, repeated, tag = "14")]
    pub(crate) groups: Vec<u32>,
}

impl Stored {
    pub(crate) fn status(&self) -> Status {
        Status {
            state: self.state(),
            pid: self.pid,
            started_at: self.started_at,
            finished_at: self.finished_at,
            exit_code: self.exit_code,
            reason: self.reason.clone(),
            message: self.message.clone(),
            resources: self.resources.clone(),
            annotations: self.annotations.clone(),
        }
    }
}
