//! The sections of the file, with the defaults of each key.

use crate::{Nri, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The whole configuration. `dist/config.toml` says what each key is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[files]`
    pub files: Files,
    /// `[server]`
    pub server: Server,
    /// `[streaming]`
    pub streaming: Streaming,
    /// `[network]`
    pub network: Network,
    /// `[images]`
    pub images: Images,
    /// `[containers]`
    pub containers: Containers,
    /// `[runtimes.NAME]`, by the name of the runtime handler.
    pub runtimes: BTreeMap<String, Runtime>,
    /// `[nri]`
    pub nri: Nri,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[tracing]`
    pub tracing: Tracing,
    /// `[log]`
    pub log: Log,
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    /// What survives a boot: images, records.
    pub root: PathBuf,
    /// What ends with the boot, on a file system in memory.
    pub state: PathBuf,
    /// Where network namespaces are bound.
    pub netns: PathBuf,
    /// The program `podloom-shim`; beside the daemon's own where it is empty.
    pub shim: PathBuf,
}

/// The CRI's socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Its path.
    pub socket: PathBuf,
    /// Number of the group that may use it beside root.
    pub group: u32,
    /// How long calls may go on when the daemon is asked to end.
    pub drain: Time,
}

/// The server of exec, attach and port-forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Streaming {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// The host that URLs name; empty for the address.
    pub host: String,
    /// Serve https.
    pub tls: Option<Tls>,
    /// Streams without a byte for so long are ended.
    pub idle_timeout: Time,
}

/// A key pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities whose certificates clients must show, PEM.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// Networks of pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Configuration lists.
    pub conf_dir: PathBuf,
    /// Where plugins are looked for.
    pub plugin_dirs: Vec<PathBuf>,
    /// Where results are kept.
    pub cache_dir: PathBuf,
    /// The network of `eth0`; empty for the first usable one by file name.
    pub default: String,
    /// Networks that every pod has beside it.
    pub additional: Vec<String>,
    /// Networks that a pod may ask for by annotation.
    pub on_request: Vec<String>,
    /// Whether pods may choose addresses by annotation.
    pub addresses_on_request: bool,
    /// How long one call of one plugin may take.
    pub call_timeout: Time,
}

/// Images and registries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// Folders with `HOST/hosts.toml`; the first match wins.
    pub certs_dirs: Vec<PathBuf>,
    /// Docker's `config.json` with credentials; none where it is empty.
    pub docker_config: PathBuf,
    /// Names of images that kubelet must not remove; `*` at the end stands for anything.
    pub pinned: Vec<String>,
    /// Layers of one pull that come at the same time.
    pub parallel_layers: usize,
    /// Keep compressed layers, for exports.
    pub keep_blobs: bool,
    /// How long an unfinished download is kept.
    pub keep_partial: Time,
    /// How long a pull goes on after its caller went away.
    pub pull_linger: Time,
    /// How long a registry may keep a transfer waiting before it is tried again.
    pub stall_timeout: Time,
}

/// How containers are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Containers {
    /// Who makes control groups.
    pub cgroup_driver: CgroupDriver,
    /// Capabilities of containers that ask for none, without `CAP_`.
    pub capabilities: Vec<String>,
    /// Variables of every container, `KEY=value`.
    pub env: Vec<String>,
    /// Limits of processes by name, as `NOFILE`.
    pub rlimits: BTreeMap<String, Rlimit>,
    /// Size of `/dev/shm`, in bytes.
    pub shm_size: u64,
    /// Profile for `RuntimeDefault`; the built-in one where it is empty.
    pub seccomp_profile: PathBuf,
    /// Directory of `localhost` profiles.
    pub seccomp_dir: PathBuf,
    /// AppArmor profile of containers that ask for `RuntimeDefault` or for nothing; unconfined where it
    /// is empty. `podloom-default` is made and loaded by the daemon, others must be loaded.
    pub apparmor_profile: String,
    /// Give SELinux labels.
    pub selinux: bool,
    /// Directories of CDI files.
    pub cdi_dirs: Vec<PathBuf>,
    /// Sources of mounts that are not made when they are missing.
    pub absent_sources_to_refuse: Vec<PathBuf>,
    /// Size of a log at which no more is written until it is rotated, in bytes; 0 for none.
    pub log_max_bytes: u64,
    /// Output taken from a container each second, in bytes; 0 for any.
    pub log_max_rate: u64,
    /// How long what a finished command left behind may keep its output open.
    pub exec_drain: Time,
    /// How long a killed container may take to end.
    pub kill_timeout: Time,
}

/// A limit of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// The one in force.
    pub soft: u64,
    /// How far a process may raise it.
    pub hard: u64,
}

/// A runtime handler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// A program with runc's command line; the built-in runtime where it is empty.
    pub program: PathBuf,
    /// Global flags of that program.
    pub options: Vec<String>,
    /// Networks of its pods, beside those that every pod has.
    pub networks: Vec<String>,
    /// Annotations that the runtime is told; `*` at the end stands for anything.
    pub annotations: Vec<String>,
    /// Privileged containers get no devices of the node.
    pub privileged_without_devices: bool,
}

/// Figures for Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where `/metrics` is served, as `127.0.0.1:9105`; nowhere where it is empty.
    pub address: String,
}

/// Spans of calls, for OpenTelemetry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// A collector that takes OTLP by gRPC, as `http://127.0.0.1:4317`; none where it is empty.
    pub endpoint: String,
    /// Which part of the calls is told, 0 to 1, where the caller has not decided it.
    pub sampling: f64,
}

impl Default for Tracing {
    fn default() -> Tracing {
        Tracing { endpoint: String::new(), sampling: 1.0 }
    }
}

/// What the daemon tells of its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,cri=debug`.
    pub level: String,
    /// For people or for programs.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines of text.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Who makes control groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// systemd where it runs the machine, else the daemon.
    #[default]
    Auto,
    /// The daemon, in the file system.
    Cgroupfs,
    /// systemd.
    Systemd,
}

fn paths(all: &[&str]) -> Vec<PathBuf> {
    all.iter().map(PathBuf::from).collect()
}

impl Default for Files {
    fn default() -> Files {
        Files {
            root: PathBuf::from("/var/lib/podloom"),
            state: PathBuf::from("/run/podloom"),
            netns: PathBuf::from("/run/netns"),
            shim: PathBuf::new(),
        }
    }
}

impl Default for Server {
    fn default() -> Server {
        let socket = PathBuf::from("/run/podloom/podloom.sock");
        Server { socket, group: 0, drain: Time::seconds(10) }
    }
}

impl Default for Streaming {
    fn default() -> Streaming {
        Streaming {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            host: String::new(),
            tls: None,
            idle_timeout: Time::seconds(4 * 3600),
        }
    }
}

impl Default for Network {
    fn default() -> Network {
        Network {
            conf_dir: PathBuf::from("/etc/cni/net.d"),
            plugin_dirs: paths(&["/opt/cni/bin"]),
            cache_dir: PathBuf::from("/var/lib/cni"),
            default: String::new(),
            additional: Vec::new(),
            on_request: Vec::new(),
            addresses_on_request: false,
            call_timeout: Time::seconds(60),
        }
    }
}

impl Default for Images {
    fn default() -> Images {
        Images {
            certs_dirs: paths(&["/etc/podloom/certs.d", "/etc/containerd/certs.d"]),
            docker_config: PathBuf::new(),
            pinned: Vec::new(),
            parallel_layers: 4,
            keep_blobs: true,
            keep_partial: Time::seconds(24 * 3600),
            pull_linger: Time::seconds(60),
            stall_timeout: Time::seconds(30),
        }
    }
}

/// Capabilities that containers have in the field.
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

impl Default for Containers {
    fn default() -> Containers {
        Containers {
            cgroup_driver: CgroupDriver::Auto,
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            env: Vec::new(),
            rlimits: BTreeMap::new(),
            shm_size: 64 << 20,
            seccomp_profile: PathBuf::new(),
            seccomp_dir: PathBuf::from("/var/lib/kubelet/seccomp"),
            apparmor_profile: "podloom-default".to_owned(),
            selinux: false,
            cdi_dirs: paths(&["/etc/cdi", "/var/run/cdi"]),
            absent_sources_to_refuse: Vec::new(),
            log_max_bytes: 0,
            log_max_rate: 0,
            exec_drain: Time::milliseconds(500),
            kill_timeout: Time::seconds(10),
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info".to_owned(), format: LogFormat::Text }
    }
}
