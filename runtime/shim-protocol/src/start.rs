//! Containers, processes and their streams, as they are asked for.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// A container to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Create {
    /// Its name: letters, digits and `_+-.`.
    pub id: String,
    /// Directory of its `config.json`. The terminal of that and of [`Stdio`] must agree.
    pub bundle: PathBuf,
    /// Who makes it.
    #[serde(default)]
    pub runtime: Runtime,
    /// Its standard streams.
    #[serde(default)]
    pub stdio: Stdio,
}

/// The OCI runtime of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// The one that the shim is linked with.
    BuiltIn(BuiltIn),
    /// A program with runc's command line.
    Program(Program),
}

impl Default for Runtime {
    fn default() -> Runtime {
        Runtime::BuiltIn(BuiltIn::default())
    }
}

/// Settings of the built-in runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltIn {
    /// Who makes control groups; nobody when absent.
    #[serde(default)]
    pub cgroups: Option<CgroupDriver>,
    /// Change the root by chroot(2): for nodes that run from an initramfs.
    #[serde(default)]
    pub no_pivot: bool,
    /// Folder of compiled filters of system calls, for all pods; each pod has its own when absent.
    #[serde(default)]
    pub filters: Option<PathBuf>,
}

/// Who makes control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupDriver {
    /// The runtime itself, in the file system.
    Cgroupfs,
    /// systemd.
    Systemd,
}

/// An OCI runtime that is run as a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The executable, absolute.
    pub path: PathBuf,
    /// Global flags in front of each command, besides `--root` and `--log`.
    #[serde(default)]
    pub options: Vec<String>,
    /// Let systemd make control groups (`--systemd-cgroup`).
    #[serde(default)]
    pub systemd: bool,
}

/// The standard streams of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stdio {
    /// One terminal instead of three pipes.
    #[serde(default)]
    pub terminal: bool,
    /// Whether there is an input to attach to; without it the process reads an empty one.
    #[serde(default)]
    pub stdin: bool,
    /// End the input when the first client that was attached to it goes.
    #[serde(default)]
    pub stdin_once: bool,
    /// Where output is kept; only clients see it when absent.
    #[serde(default)]
    pub log: Option<Log>,
}

/// The log of a container, in the format of the CRI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The file; made with its directory when it is missing, appended to when it is there.
    pub path: PathBuf,
    /// Size in bytes at which no more is written until the log is opened anew; 0 for none. What is
    /// left out is counted in the container's state.
    #[serde(default)]
    pub max_bytes: u64,
    /// Bytes of output that are taken from the container each second; 0 for any number. A container
    /// that writes more is held back.
    #[serde(default)]
    pub max_rate: u64,
}

/// A process to add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// The container.
    pub id: String,
    /// Name of the process, of which there may be one at a time in the container.
    pub exec_id: String,
    /// `process` of the runtime specification. With `terminal` the reply carries the master.
    pub process: Value,
    /// Which streams the request carries; those missing read and write nothing. Ignored with a
    /// terminal.
    #[serde(default)]
    pub streams: Streams,
}

/// A client's streams for a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The container.
    pub id: String,
    /// Which streams the request carries. Of a terminal all output is standard output.
    pub streams: Streams,
}

/// Which descriptors come with a request: in the order of the fields, those that are true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Read from.
    #[serde(default)]
    pub stdin: bool,
    /// Written to.
    #[serde(default)]
    pub stdout: bool,
    /// Written to.
    #[serde(default)]
    pub stderr: bool,
}

impl Streams {
    /// How many.
    pub fn count(self) -> usize {
        usize::from(self.stdin) + usize::from(self.stdout) + usize::from(self.stderr)
    }
}
