//! Debian's containerd runs containers through our plugins.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

use conformance::machine::{Machine, have};
use lab::Bins;
use serde_json::{Value, json};
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

const SLOW: Duration = Duration::from_secs(20);
const IMAGE: &str = "lab.local/busybox:1";

/// As ctr reads it from `/etc/cni/net.d`: it has no option for ports, so the list has them.
fn network() -> Value {
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
         "ipam": {"type": "host-local",
                  "ranges": [[{"subnet": "10.5.0.0/24"}], [{"subnet": "fd05::/64"}]],
                  "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
        {"type": "portmap", "runtimeConfig": {"portMappings":
            [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}},
    ]})
}

#[test]
fn containers_of_ctr_are_attached_and_leave_nothing() {
    if !have(&["containerd", "ctr", "crun", "busybox", "unshare", "nsenter"]) {
        return;
    }
    let machine = Machine::new("containerd", &Bins::ours(), &network());
    let outside = machine.lab.outside("host1", &["192.0.2.0/24", "2001:db8::/64"]);
    let beyond = SocketAddr::new(outside.address(0), 7);
    let _echo = outside.tcp_echo(7);
    let rootfs = machine.rootfs(beyond);
    let _daemon = containerd(&machine);
    machine.sh("ctr", &["image", "import", "--snapshotter", "native", &image(&machine, &rootfs)]);
    let mut before = None;
    for round in ["first", "second"] {
        let mut child = container(&machine, round);
        let port = SocketAddr::new(outside.node_address(0), 8080);
        let reply = outside.tcp_within(port, SLOW).expect("the hostPort answers outside");
        assert_eq!(reply.server, "container");
        assert_eq!(reply.seen.ip(), outside.node_address(0), "the container is masqueraded");
        let leases = machine.leases("net");
        assert_eq!(leases.len(), 2, "{leases:?}");
        for address in leases {
            machine.node().ping(address).expect("the container answers the node");
        }
        machine.sh("ctr", &["task", "kill", "-s", "KILL", round]);
        // ctr detaches with an empty CNI_NETNS once the task is gone, then ends.
        child.wait().expect("wait for ctr");
        assert_eq!(machine.leases("net"), [] as [std::net::IpAddr; 0], "{round}");
        lab::until("the kernel takes the links", lab::PATIENCE, || {
            machine.snapshot().matching("kind veth").iter().all(|l| l.contains("link: out"))
        });
        let now = machine.snapshot();
        before.get_or_insert_with(|| now.clone()).assert_same(&now);
        for text in ["DNAT --to", " id: ", "file: cni/results", "10.5.0.2/"] {
            assert_eq!(now.matching(text), [] as [&str; 0], "{round}");
        }
    }
}

/// A child that is killed at the end of the test, at the latest.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn containerd(machine: &Machine) -> Daemon {
    let config = "version = 2\nroot = \"/var/lib/containerd\"\nstate = \"/run/containerd\"\n\
        disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
        [grpc]\naddress = \"/run/containerd/containerd.sock\"\n";
    std::fs::write(machine.dir("etc/containerd-lab.toml"), config).expect("a configuration");
    let log = machine.lab.tmp_dir().join("containerd.log");
    let file = File::create(&log).expect("a log");
    let errors = file.try_clone().expect("a log");
    let mut command = machine.command("containerd");
    command.args(["--config", "/etc/containerd-lab.toml"]).stdout(file).stderr(errors);
    let daemon = Daemon(command.spawn().expect("start containerd"));
    lab::until("containerd answers", SLOW, || machine.exec("ctr", &["version"]).status.success());
    daemon
}

/// `ctr run` in the foreground: it attaches, waits for the container's end, and detaches.
fn container(machine: &Machine, name: &str) -> Child {
    // The machine's cgroups stay as they are.
    let wrapper = machine.dir("opt/crun");
    std::fs::write(&wrapper, "#!/bin/sh\nexec crun --cgroup-manager=disabled \"$@\"\n")
        .expect("a wrapper");
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).expect("chmod");
    let mut command = machine.command("ctr");
    command.args(["run", "--rm", "--cni", "--snapshotter", "native"]);
    command.args(["--runc-binary", "/opt/crun", IMAGE, name]);
    command.args(["nc", "-ll", "-p", "80", "-e", "/bin/answer"]);
    let log = machine.lab.tmp_dir().join(format!("{name}.log"));
    let file = File::create(&log).expect("a log");
    command.stdout(file.try_clone().expect("a log")).stderr(file);
    command.spawn().expect("start ctr")
}

/// An image archive as `docker save` writes it, of one layer; returns its path.
fn image(machine: &Machine, rootfs: &Path) -> String {
    let dir = machine.lab.tmp_dir();
    let layer = dir.join("layer.tar");
    run(Command::new("tar").arg("-C").arg(rootfs).arg("-cf").arg(&layer).arg("."));
    let sum = run(Command::new("sha256sum").arg(&layer));
    let sum = sum.split_whitespace().next().expect("a sum").to_owned();
    let write = |name: &str, doc: Value| std::fs::write(dir.join(name), doc.to_string());
    let config = json!({"architecture": architecture(), "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{sum}")]}});
    write("config.json", config).expect("a file");
    let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    write("manifest.json", manifest).expect("a file");
    let archive: PathBuf = dir.join("image.tar");
    let parts = ["manifest.json", "config.json", "layer.tar"];
    run(Command::new("tar").arg("-C").arg(&dir).arg("-cf").arg(&archive).args(parts));
    archive.to_string_lossy().into_owned()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn run(command: &mut Command) -> String {
    let done = command.output().expect("start a program");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}
