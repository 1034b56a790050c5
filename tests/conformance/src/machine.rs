//! A node for real callers: container engines whose paths are fixed find directories of their
//! own there, and nothing that they start outlives the test.

use lab::{Bins, Lab, Ns, Snapshot};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A node with `/etc`, `/opt`, `/run` and `/var/lib` of its own, in a PID namespace of its own.
#[derive(Debug)]
pub struct Machine {
    /// The node's network.
    pub lab: Lab,
    keeper: Child,
    init: u32,
}

/// What a [`Machine`] has below `/sys/fs/cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// A hierarchy without controllers: for callers that shall not use any.
    Bare,
    /// Those of the real machine: for callers that name groups of their own.
    Ours,
}

/// The first process of the PID namespace. It ends with its standard input, which the test
/// holds, and everything in the namespace ends with it.
const INIT: &str = r#"
set -e
for dir in etc opt run var/lib; do mount --bind "$1/$dir" "/$dir"; done
if [ "$2" = ours ]; then
    mount --rbind /sys/fs/cgroup /opt/cgroup
    mount -t sysfs sysfs /sys
    mount --move /opt/cgroup /sys/fs/cgroup
else
    mount -t sysfs sysfs /sys
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
echo ready
exec cat
"#;

impl Machine {
    /// A machine with the plugins of `bins` in `/opt/cni/bin` and one network configuration.
    pub fn new(name: &str, bins: &Bins, network: &serde_json::Value) -> Machine {
        Machine::with_cgroups(Cgroups::Bare, name, bins, network)
    }

    /// A machine as of [`Machine::new`], with these control groups.
    pub fn with_cgroups(
        cgroups: Cgroups,
        name: &str,
        bins: &Bins,
        network: &serde_json::Value,
    ) -> Machine {
        let lab = Lab::new(name);
        let root = lab.root().join("machine");
        for dir in ["opt/cni/bin", "opt/cgroup", "run", "var/lib"] {
            std::fs::create_dir_all(root.join(dir)).expect("a directory of the machine");
        }
        copied("/etc", &root.join("etc"));
        let networks = root.join("etc/cni/net.d");
        // What the real machine has configured is not this one's.
        drop(std::fs::remove_dir_all(&networks));
        std::fs::create_dir_all(&networks).expect("/etc/cni/net.d");
        std::fs::write(networks.join("10-net.conflist"), network.to_string()).expect("a list");
        for plugin in
            ["bridge", "ptp", "host-local", "static", "portmap", "firewall", "tuning", "loopback"]
        {
            let target = root.join("opt/cni/bin").join(plugin);
            std::fs::copy(bins.program(plugin), &target)
                .unwrap_or_else(|e| panic!("{}: {e}", bins.program(plugin).display()));
        }
        let mut keeper = lab.node().run(|| {
            Command::new("unshare")
                .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"])
                .args([INIT, "init"])
                .arg(&root)
                .arg(if cgroups == Cgroups::Ours { "ours" } else { "bare" })
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("unshare of util-linux")
        });
        let mut line = String::new();
        let output = keeper.stdout.take().expect("stdout is a pipe");
        BufReader::new(output).read_line(&mut line).expect("read from the first process");
        assert_eq!(line, "ready\n", "the machine does not start");
        let init = child_of(keeper.id());
        Machine { lab, keeper, init }
    }

    /// A directory of the machine, seen from the test.
    pub fn dir(&self, path: &str) -> PathBuf {
        self.lab.root().join("machine").join(path)
    }

    /// A program that will run on the machine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--pid", "--net", "--target"]).arg(self.init.to_string());
        command.arg("--").arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a program on the machine.
    pub fn exec(&self, program: &str, args: &[&str]) -> Output {
        self.command(program).args(args).output().expect("nsenter of util-linux")
    }

    /// Runs a program on the machine and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn sh(&self, program: &str, args: &[&str]) -> String {
        let done = self.exec(program, args);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{program} {}: {errors}", args.join(" "));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// The node's state with the leases, results and records in their default places.
    pub fn snapshot(&self) -> Snapshot {
        self.lab.snapshot_with(&[self.dir("var/lib/cni"), self.dir("run/podloom")])
    }

    /// A root directory for containers: one busybox, and a program `answer` that a server there
    /// runs for each client. Its answer is that of a [`lab::Echo`]: the name `container`, and the
    /// address that the echo server at `beyond` sees for the container itself.
    pub fn rootfs(&self, beyond: std::net::SocketAddr) -> PathBuf {
        let root = self.lab.root().join("rootfs");
        for dir in ["bin", "proc", "sys", "dev", "etc", "tmp", "run"] {
            std::fs::create_dir_all(root.join(dir)).expect("a directory of the root");
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static");
        for name in ["sh", "nc", "cut"] {
            symlink("busybox", root.join("bin").join(name)).expect("a link to busybox");
        }
        let script = format!(
            "#!/bin/sh\nseen=$(nc {} {} </dev/null | cut -d'|' -f2)\nprintf 'container|%s' \"$seen\"\n",
            beyond.ip(),
            beyond.port()
        );
        let answer = root.join("bin/answer");
        std::fs::write(&answer, script).expect("a script");
        std::fs::set_permissions(&answer, PermissionsExt::from_mode(0o755)).expect("chmod");
        root
    }

    /// The addresses that are leased in the network `name`.
    pub fn leases(&self, name: &str) -> Vec<std::net::IpAddr> {
        let dir = self.dir("var/lib/cni/networks").join(name);
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
    }

    /// The node's network.
    pub fn node(&self) -> &Ns {
        self.lab.node()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its child dies with it (--kill-child), and the whole PID namespace with the child.
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

/// The only child of a process.
fn child_of(pid: u32) -> u32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.split_whitespace().next().and_then(|p| p.parse().ok()).expect("a child of unshare")
}

fn copied(from: &str, to: &Path) {
    let done = Command::new("cp").args(["-a", from]).arg(to).output().expect("cp");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Those of the programs that are not installed.
pub fn missing<'p>(programs: &[&'p str]) -> Vec<&'p str> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs: Vec<_> = path.split(':').chain(["/usr/sbin", "/sbin"]).collect();
    let there = |program: &str| dirs.iter().any(|dir| Path::new(dir).join(program).is_file());
    programs.iter().filter(|program| !there(program)).copied().collect()
}

/// Whether these programs are installed; a skip where one is missing.
pub fn have(programs: &[&str]) -> bool {
    let missing = missing(programs);
    if !missing.is_empty() {
        lab::skip(&format!("not installed: {}", missing.join(", ")));
    }
    missing.is_empty()
}
