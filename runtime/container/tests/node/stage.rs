//! A node with pods and images, in directories of its own, and what tests ask of containers.

use container::{Containers, Kind, Output, Recovered, Settings};
use cri_api::v1::{
    ContainerConfig, ContainerMetadata, ContainerState, ImageSpec, LinuxContainerConfig,
    LinuxContainerResources, LinuxContainerSecurityContext, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata,
};
use image::{ImageService, Import, Platform};
use images::{Image, Layer, Packing, Style};
use sandbox::{Networks, Sandboxes};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Name of the image with busybox in it.
pub(crate) const BOX: &str = "example.com/box:1";

/// Long enough for a machine that is busy, short enough for a test.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Stage {
    pub(crate) lab: lab::Lab,
    pub(crate) settings: Settings,
    pub(crate) pods: sandbox::Settings,
}

/// Everything that is open on the node.
pub(crate) struct Node {
    pub(crate) pods: Sandboxes,
    pub(crate) images: ImageService,
    pub(crate) containers: Containers,
}

impl Stage {
    pub(crate) fn new(name: &str) -> Stage {
        let lab = lab::Lab::new(name);
        let root = lab.root().to_owned();
        let settings = Settings {
            run_dir: root.join("run"),
            state_dir: root.join("state"),
            cdi_dirs: vec![root.join("cdi")],
            seccomp_dir: root.join("seccomp"),
            kill_deadline: Duration::from_secs(10),
            ..Settings::default()
        };
        let pods = sandbox::Settings {
            run_dir: root.join("run"),
            state_dir: root.join("state"),
            netns_dir: root.join("netns"),
            networks: Networks {
                conf_dir: root.join("conf"),
                plugin_dirs: vec![root.join("bin")],
                cache_dir: root.join("cache"),
                ..Networks::default()
            },
            ..sandbox::Settings::new(lab::podloom_shim())
        };
        Stage { lab, settings, pods }
    }

    /// A network for pods with a namespace of their own, whose plugin only says what it would do.
    pub(crate) fn make_network(&self) {
        let (conf, bin) = (&self.pods.networks.conf_dir, &self.pods.networks.plugin_dirs[0]);
        fs::create_dir_all(conf).expect("net.d");
        fs::create_dir_all(bin).expect("bin");
        let list = json!({"cniVersion": "1.1.0", "name": "said", "plugins": [{"type": "said"}]});
        fs::write(conf.join("10-said.conflist"), list.to_string()).expect("list");
        let result = json!({"cniVersion": "1.1.0",
            "interfaces": [{"name": "eth0", "sandbox": "/pod"}],
            "ips": [{"address": "10.9.9.9/24", "interface": 0}]});
        let text =
            format!("#!/bin/sh\ncat > /dev/null\ntest $CNI_COMMAND != ADD || echo '{result}'\n");
        let path = bin.join("said");
        fs::write(&path, text).expect("plugin");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("mode");
    }

    /// Runs `work` on the node.
    pub(crate) fn run<F: Future<Output = T> + Send, T: Send>(&self, work: F) -> T {
        self.lab.node().run(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(2).enable_all().build().expect("runtime");
            runtime.block_on(work)
        })
    }

    /// Opens everything, and imports the images.
    pub(crate) async fn open_with(&self, images: &[(&str, &Image)]) -> (Node, Recovered) {
        let service = ImageService::open(image::Settings::below(&self.lab.root().join("images")));
        let service = service.expect("images");
        let path = self.lab.root().join("layout");
        if !images.is_empty() && !path.exists() {
            images::write_layout(&path, images);
            let import = Import { path, platform: Platform::host(), name: None };
            service.import(import).await.expect("import");
        }
        let (pods, _) = Sandboxes::open(self.pods.clone()).await.expect("pods");
        let opened = Containers::open(self.settings.clone(), pods.clone(), service.clone()).await;
        let (containers, recovered) = opened.expect("containers");
        (Node { pods, images: service, containers }, recovered)
    }

    pub(crate) async fn open(&self) -> Node {
        self.open_with(&[(BOX, &busybox(&json!({})))]).await.0
    }

    /// Fails if anything of a pod or container is left.
    pub(crate) fn assert_clean(&self) {
        for dir in ["run/containers", "state/containers", "run/sandboxes", "state/sandboxes"] {
            assert_eq!(lab::names(&self.lab.root().join(dir)), Vec::<String>::new(), "{dir}");
        }
        let left = lab::mounts_below(self.lab.root());
        assert!(left.is_empty(), "mounts left: {left:#?}");
        assert_eq!(lab::shims(self.lab.root()), Vec::<i32>::new(), "shims left");
    }
}

/// What a test that failed left running ends with it.
impl Drop for Stage {
    fn drop(&mut self) {
        for shim in lab::shims(self.lab.root()) {
            let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children"));
            let children = children.unwrap_or_default();
            let children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
            for pid in [shim].into_iter().chain(children) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    // It may have ended meanwhile.
                    let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        lab::unmount_below(self.lab.root());
    }
}

impl Node {
    /// A pod on the node's network with namespaces as asked.
    pub(crate) async fn pod(&self, name: &str) -> String {
        self.pods.run(pod(name), "").await.expect("pod")
    }

    /// A container that runs.
    pub(crate) async fn start(&self, pod: &str, config: ContainerConfig) -> String {
        let id = self.containers.create(pod, config, None).await.expect("create");
        self.containers.start(&id).await.expect("start");
        id
    }

    /// Waits until a container that [`waiting`] describes listens to signals.
    pub(crate) async fn ready(&self, id: &str) {
        self.sh(id, "while ! test -e /tmp/ready; do sleep 0.01; done").await;
    }

    /// What a shell says in a container, which must succeed.
    pub(crate) async fn sh(&self, id: &str, script: &str) -> String {
        let output = self.try_sh(id, script).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.exit_code, 0, "{script}: {said}{errors}");
        said.trim_end().to_owned()
    }

    pub(crate) async fn try_sh(&self, id: &str, script: &str) -> Output {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        self.containers.exec_sync(id, command, Some(SOON)).await.expect("exec")
    }

    /// Waits for the end, and tells the exit status and why.
    pub(crate) async fn ended(&self, id: &str) -> (i32, String) {
        let container = self.containers.get(id).expect("container");
        let begun = Instant::now();
        while container.state() != ContainerState::ContainerExited {
            assert!(begun.elapsed() < SOON, "{:?}", container.status());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let status = container.status();
        (status.exit_code, status.reason)
    }

    /// Removes the pod and its containers.
    pub(crate) async fn remove(&self, pod: &str) {
        self.containers.stop_all(pod).await.expect("stop all");
        self.containers.remove_all(pod).await.expect("remove all");
        self.pods.stop(pod).await.expect("stop");
        self.pods.remove(pod).await.expect("remove");
    }

    /// Why a configuration is refused.
    pub(crate) async fn refused(&self, pod: &str, config: ContainerConfig) -> container::Error {
        match self.containers.create(pod, config, None).await {
            Err(e) => e,
            Ok(id) => {
                let started = self.containers.start(&id).await;
                self.containers.remove(&id).await.expect("remove");
                started.expect_err("neither create nor start refuse it")
            }
        }
    }
}

/// A pod's configuration: the node's network, a log directory from `POD_LOGS` of the caller.
pub(crate) fn pod(name: &str) -> PodSandboxConfig {
    with_spaces(
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                namespace: "default".to_owned(),
                uid: format!("uid-of-{name}"),
                attempt: 0,
            }),
            linux: Some(LinuxPodSandboxConfig::default()),
            ..PodSandboxConfig::default()
        },
        |spaces| {
            spaces.network = NamespaceMode::Node.into();
            spaces.pid = NamespaceMode::Container.into();
        },
    )
}

/// Changes the namespaces of a pod.
pub(crate) fn with_spaces(
    mut config: PodSandboxConfig,
    change: impl FnOnce(&mut NamespaceOption),
) -> PodSandboxConfig {
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert(LinuxSandboxSecurityContext::default());
    change(security.namespace_options.get_or_insert_default());
    config
}

/// A container's configuration: a shell with this script.
pub(crate) fn script(name: &str, script: &str) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: BOX.to_owned(), ..ImageSpec::default() }),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        linux: Some(LinuxContainerConfig {
            resources: Some(LinuxContainerResources::default()),
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: Some(NamespaceOption {
                    pid: NamespaceMode::Container.into(),
                    ..NamespaceOption::default()
                }),
                ..LinuxContainerSecurityContext::default()
            }),
        }),
        ..ContainerConfig::default()
    }
}

/// A container that waits to be stopped, and ends with 0 when it is asked to.
pub(crate) fn waiting(name: &str) -> ContainerConfig {
    script(name, "trap 'exit 0' TERM; touch /tmp/ready 2>/dev/null; while :; do sleep 0.02; done")
}

/// Changes the security context.
pub(crate) fn secured(
    mut config: ContainerConfig,
    change: impl FnOnce(&mut LinuxContainerSecurityContext),
) -> ContainerConfig {
    let linux = config.linux.get_or_insert_default();
    change(linux.security_context.get_or_insert_default());
    config
}

const PROGRAMS: &str = "sh cat id sleep echo ls touch head dd kill ps true false grep stat mkdir \
    mount umount wc yes tr setsid test env pwd hostname sort mknod rm ln tail stty seq cut nc \
    readlink chmod awk cp";

/// An image with busybox, users and some files; `extra` replaces keys of its `config`.
pub(crate) fn busybox(extra: &Value) -> Image {
    let program = fs::read("/usr/bin/busybox").expect("busybox-static is installed");
    let mut layer = Layer::new()
        .dir("bin", 0o755)
        .file_of_mode("bin/busybox", 0o755, &program)
        .dir("etc", 0o755)
        .file(
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n",
        )
        .file("etc/group", b"root:x:0:\napps:x:1001:\nextra:x:50000:app\n")
        .dir("root", 0o700)
        .dir("tmp", 0o1777)
        .dir("data", 0o755)
        .file("data/file", b"of the image\n")
        .dir("data/below", 0o755)
        .file("data/below/deep", b"deep\n")
        .symlink("data/out", "/etc/passwd")
        .symlink("data/far", "../../../../etc");
    for name in PROGRAMS.split_ascii_whitespace() {
        layer = layer.symlink(&format!("bin/{name}"), "busybox");
    }
    let mut config = json!({"Env": ["PATH=/bin", "OF=image"], "Cmd": ["sh"], "WorkingDir": "/tmp"});
    for (key, value) in extra.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    Image::with(vec![(layer, Packing::Plain)], Style::Oci, &json!({"config": config}))
}

/// A directory of the node, below the lab's.
pub(crate) fn node_dir(stage: &Stage, name: &str) -> PathBuf {
    let dir = stage.lab.root().join(name);
    fs::create_dir_all(&dir).expect("directory");
    dir
}

pub(crate) fn assert_kind<T: std::fmt::Debug>(outcome: container::Result<T>, kind: Kind) {
    let e = outcome.expect_err("refused");
    assert_eq!(e.kind(), kind, "{e}");
}
