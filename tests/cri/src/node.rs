//! A node that podloomd serves.

use crate::{Client, Way};
use images::{Image, Layer, Packing, Registry};
use lab::Lab;
use serde_json::json;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// The repository of the image with busybox.
pub const BUSY: &str = "test/busy";

/// Numbers nodes, for control groups of their own.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The program `podloomd`: beside the shim.
pub fn daemon() -> PathBuf {
    lab::podloom_shim().with_file_name("podloomd")
}

/// A node with a registry, a network `podnet`, and podloomd.
#[derive(Debug)]
pub struct Node {
    lab: Arc<Lab>,
    registry: Arc<Registry>,
    /// Dropped, it ends the thread that the registry's programs end with.
    _keeper: Sender<()>,
    daemon: Option<Child>,
    pub(crate) cgroup: String,
}

impl Node {
    /// A node on which podloomd serves; none, said as a skip, where the registry is not installed.
    ///
    /// # Panics
    /// When the daemon does not come up.
    pub fn start(name: &str) -> Option<Node> {
        let mut node = Node::prepare(name)?;
        node.serve();
        Some(node)
    }

    /// As [`Node::start`], without the daemon.
    ///
    /// # Panics
    /// When the files of the node cannot be written.
    pub fn prepare(name: &str) -> Option<Node> {
        let lab = Arc::new(Lab::new(name));
        let Some((registry, keeper)) = registry_on(&lab) else {
            lab::skip("docker-registry, htpasswd or setpriv is not installed");
            return None;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/podloom-cri-{}-{number}", std::process::id());
        let node = Node { lab, registry, _keeper: keeper, daemon: None, cgroup };
        node.write("conf/10-podnet.conflist", &node.network().to_string());
        let plain = node.registry.plain_host();
        let hosts = format!("server = \"http://{plain}\"\n");
        node.write(&format!("certs.d/{plain}/hosts.toml"), &hosts);
        let authority = node.registry.authority();
        let hosts = format!("server = \"https://{0}\"\nca = {authority:?}\n", node.registry.host());
        node.write(&format!("certs.d/{}/hosts.toml", node.registry.host()), &hosts);
        node.write("config.toml", &node.config());
        node.push(BUSY, "1", &busybox());
        Some(node)
    }

    fn network(&self) -> serde_json::Value {
        json!({"cniVersion": "1.1.0", "name": "podnet", "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
             "ipam": {"type": "host-local", "dataDir": self.lab.data_dir(),
                "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]})
    }

    fn config(&self) -> String {
        let root = self.lab.root().display();
        let plugins = lab::Bins::ours();
        // A profile stays in the kernel.
        let profile = if lab::machine_is_for_tests() { "podloom-default" } else { "" };
        format!(
            "[files]\nroot = \"{root}/lib\"\nstate = \"{root}/state\"\nnetns = \"{root}/netns\"\n\
             shim = {:?}\n[server]\nsocket = \"{root}/state/podloom.sock\"\ndrain = \"2s\"\n\
             [network]\nconf_dir = \"{root}/conf\"\nplugin_dirs = [{:?}]\ncache_dir = \"{root}/cache\"\n\
             [images]\ncerts_dirs = [\"{root}/certs.d\"]\npinned = [\"{}*\"]\npull_linger = \"5s\"\n\
             [containers]\ncgroup_driver = \"cgroupfs\"\napparmor_profile = \"{profile}\"\n\
             [metrics]\naddress = \"127.0.0.1:9105\"\n\
             [nri]\nsocket_path = \"{root}/nri.sock\"\nplugin_path = \"\"\n\
             [log]\nlevel = \"info,cri=debug\"\n",
            lab::podloom_shim(),
            plugins.dir(),
            self.image(BUSY, "pin"),
        )
    }

    /// Writes a file of the node.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directory");
        fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// A path of the node.
    pub fn path(&self, name: &str) -> PathBuf {
        self.lab.root().join(name)
    }

    /// Starts podloomd and waits until it answers.
    ///
    /// # Panics
    /// When it does not within 30 s.
    pub fn serve(&mut self) {
        self.begin();
        self.wait();
    }

    /// Starts podloomd, and does not wait for it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn begin(&mut self) {
        let mut command = Command::new(daemon());
        command.arg("--config").arg(self.path("config.toml"));
        self.spawn(command);
    }

    pub(crate) fn spawn(&mut self, mut command: Command) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log"));
        command.env("PODLOOM_RUN_DIR", self.lab.run_dir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("log"));
        self.daemon = Some(self.lab.node().run(|| command.spawn()).expect("podloomd"));
    }

    /// Waits until podloomd answers.
    ///
    /// # Panics
    /// When it does not within 30 s.
    pub fn wait(&self) {
        let begun = Instant::now();
        while !self.run(async |client: &mut Client| client.answers().await) {
            assert!(begun.elapsed() < Duration::from_secs(30), "podloomd: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The process of podloomd.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("podloomd runs").id()
    }

    /// What the daemon logged.
    pub fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = fs::File::open(self.path("daemon.log")) {
            file.read_to_string(&mut text).expect("log");
        }
        text
    }

    /// Asks the daemon to end, and returns whether it ended well.
    ///
    /// # Panics
    /// When it does not end within 30 s.
    pub fn stop(&mut self) -> bool {
        self.signal(rustix::process::Signal::TERM)
    }

    /// Kills the daemon.
    ///
    /// # Panics
    /// When it does not end within 30 s.
    pub fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
    }

    fn signal(&mut self, signal: rustix::process::Signal) -> bool {
        let Some(mut child) = self.daemon.take() else { return false };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).expect("signal");
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("wait") {
                return status.success();
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "podloomd does not end: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends the daemon a signal that does not end it.
    ///
    /// # Panics
    /// When it does not run.
    pub fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(self.daemon.as_ref().expect("podloomd runs"));
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("signal");
    }

    /// Runs `work` with a client, inside the node's network.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce(&mut Client) -> T + Send) -> T {
        self.way().run(work)
    }

    /// The way to the daemon, for threads that go on while it is killed.
    pub fn way(&self) -> Way {
        Way {
            lab: self.lab.clone(),
            socket: self.socket(),
            cgroup: self.cgroup.clone(),
            log_dir: self.path("logs"),
        }
    }

    /// The CRI's socket.
    pub fn socket(&self) -> PathBuf {
        self.path("state/podloom.sock")
    }

    /// The node's laboratory.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The node's registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Pushes an image to the node's registry.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) {
        self.lab.node().run(|| self.registry.push(repository, tag, image));
    }

    /// The name by which an image of the node's registry is pulled.
    pub fn image(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.registry.plain_host())
    }
}

/// A registry on the node's loopback, and what it goes on with. Its programs end with the thread that
/// started them, so that one lives as long as the node.
fn registry_on(lab: &Arc<Lab>) -> Option<(Arc<Registry>, Sender<()>)> {
    let (keeper, until) = channel::<()>();
    let (started, starting) = channel();
    let lab = lab.clone();
    std::thread::spawn(move || {
        lab.node().run(move || {
            let registry = Registry::start().map(Arc::new);
            if started.send(registry).is_ok() {
                // Nothing is sent: this ends when the node is dropped.
                let _dropped = until.recv();
            }
        });
    });
    Some((starting.recv().expect("the registry's thread")?, keeper))
}

/// An image with busybox, its commands, users, and a volume's directory.
fn busybox() -> Image {
    let program = fs::read("/bin/busybox").or_else(|_| fs::read("/usr/bin/busybox"));
    let program = program.expect("busybox-static is installed");
    let mut layer = Layer::new().file_of_mode("bin/busybox", 0o755, &program);
    for name in [
        "sh", "sleep", "cat", "echo", "true", "false", "id", "hostname", "nc", "httpd", "ls",
        "env", "kill", "dd", "wc", "ip", "touch", "mount", "ps", "test", "head", "stty", "wget",
        "rm", "ln", "mkfifo",
    ] {
        layer = layer.symlink(&format!("bin/{name}"), "busybox");
    }
    let layer = layer
        .dir("tmp", 0o1777)
        .dir("proc", 0o755)
        .dir("sys", 0o755)
        .dir("dev", 0o755)
        .file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n")
        .file("etc/group", b"root:x:0:\nweb:x:1000:\nmore:x:2000:web\n");
    let config = json!({"config": {
        "Env": ["PATH=/bin", "FROM_IMAGE=yes"],
        "Cmd": ["sleep", "1000"],
    }});
    Image::with(vec![(layer, Packing::Gzip)], images::Style::Oci, &config)
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("podloomd said:\n{}", self.log());
        }
        if let Some(mut child) = self.daemon.take() {
            let _ended = child.kill().and_then(|()| child.wait().map(drop));
        }
        // Pods that were given no control group have one by their id.
        let pods =
            lab::names(&self.path("state/sandboxes")).into_iter().map(|id| format!("podloom/{id}"));
        let groups: Vec<_> = pods.chain([self.cgroup.clone()]).collect();
        lab::end_shims(self.lab.root());
        lab::unmount_below(self.lab.root());
        for group in groups {
            crate::remains::remove_groups(&group);
        }
    }
}
