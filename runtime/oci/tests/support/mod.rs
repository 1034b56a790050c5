//! Bundles and the program, for the tests of this crate.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses a part, and a test fails by panic"
)]

use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest that a command of a test may take: an emulated processor is slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A bundle, a state root, and the containers made from them; all go with it.
pub struct Room {
    pub dir: PathBuf,
    pub config: Value,
    pub id: String,
}

const APPLETS: &str = "sh true false sleep ls cat id env mount umount ps grep echo readlink hostname \
    kill stat pwd wc tr head test touch mkdir rm ln dd tty ip nproc chmod cp awk sed ulimit mv";

impl Room {
    /// A room with a container of all namespaces that runs `command` in a shell; `None`, after a
    /// skip, where this cannot run.
    pub fn new(command: &str) -> Option<Room> {
        if !rustix::process::geteuid().is_root() {
            lab::skip("containers: need root");
            return None;
        }
        let busybox = Path::new("/bin/busybox");
        if !busybox.is_file() {
            lab::skip("busybox: not installed (busybox-static)");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("t{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(format!("podloom-oci-{id}"));
        let rootfs = dir.join("bundle/rootfs");
        for name in ["bin", "proc", "sys", "dev", "etc", "tmp", "root"] {
            std::fs::create_dir_all(rootfs.join(name)).expect("a directory");
        }
        std::fs::copy(busybox, rootfs.join("bin/busybox")).expect("busybox");
        for applet in APPLETS.split_whitespace() {
            symlink("busybox", rootfs.join("bin").join(applet)).expect("an applet");
        }
        std::fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nu:x:7:8::/tmp:\n")
            .expect("passwd");
        let config = config(command, &id);
        Some(Room { dir, config, id })
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("bundle/rootfs")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state").join(&self.id)
    }

    /// Adds a namespace, mount, or other entry to a list of the configuration.
    pub fn push(&mut self, pointer: &str, value: Value) {
        let list = self.config.pointer_mut(pointer).and_then(Value::as_array_mut);
        list.expect("a list").push(value);
    }

    pub fn set(&mut self, pointer: &str, value: Value) {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        self.config.pointer_mut(parent).expect("a parent")[key] = value;
    }

    fn write(&self) {
        let text = serde_json::to_vec(&self.config).expect("a document");
        let path = self.dir.join("bundle/config.json");
        // Commands that run at the same time read it meanwhile.
        if std::fs::read(&path).ok().as_ref() != Some(&text) {
            std::fs::write(path, text).expect("config.json");
        }
    }

    /// The program with its global flags.
    pub fn command(&self, args: &[&str]) -> Command {
        self.write();
        let mut command = Command::new(env!("CARGO_BIN_EXE_podloom-oci"));
        command.arg("--root").arg(self.dir.join("state")).args(args);
        command.current_dir(self.dir.join("bundle")).stdin(Stdio::null());
        command
    }

    /// Runs it, within the time that tests have. Output goes to files: a pipe would be held open by
    /// containers.
    pub fn run(&self, args: &[&str]) -> Output {
        self.run_within(args, PATIENCE)
    }

    pub fn run_within(&self, args: &[&str], limit: Duration) -> Output {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (out, err) =
            (self.dir.join(format!("out{number}")), self.dir.join(format!("err{number}")));
        let file = |path: &Path| std::fs::File::create(path).expect("a file");
        let mut command = self.command(args);
        let mut child = command.stdout(file(&out)).stderr(file(&err)).spawn().expect("start it");
        let status = wait(&mut child, limit).unwrap_or_else(|| {
            let _ = child.kill();
            panic!("{args:?} did not end: {}", std::fs::read_to_string(&err).unwrap_or_default())
        });
        let read = |path: &Path| std::fs::read(path).expect("output");
        Output { status, stdout: read(&out), stderr: read(&err) }
    }

    /// Runs a command with the container's name at its end; it must succeed.
    pub fn ok(&self, args: &[&str]) -> String {
        let args: Vec<&str> = args.iter().copied().chain([self.id.as_str()]).collect();
        text(&self.run(&args))
    }

    /// Runs the container to its end.
    pub fn whole(&self) -> Output {
        self.run(&["run", &self.id])
    }

    /// Adds a process.
    pub fn exec(&self, flags: &[&str], command: &str) -> Output {
        let mut args = vec!["exec"];
        args.extend(flags);
        args.extend([self.id.as_str(), "sh", "-c", command]);
        self.run(&args)
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state"])).expect("a state")
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    pub fn until_status(&self, wanted: &str) {
        lab::until(&format!("it is {wanted}"), PATIENCE, || self.status() == wanted);
    }

    pub fn pid(&self) -> i64 {
        self.state()["pid"].as_i64().expect("a pid")
    }

    /// Nothing of the container is left: state, groups, mounts.
    pub fn assert_gone(&self) {
        assert!(!self.state_dir().exists(), "its state is left");
        assert_eq!(self.groups(), Vec::<PathBuf>::new(), "its control groups are left");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        assert!(!mounts.contains(&self.id), "a mount is left");
    }

    /// Its control groups that exist.
    pub fn groups(&self) -> Vec<PathBuf> {
        let trees = std::fs::read_dir("/sys/fs/cgroup").expect("cgroups");
        let trees =
            trees.filter_map(|tree| Some(tree.ok()?.path())).chain(["/sys/fs/cgroup".into()]);
        trees.map(|tree| tree.join(self.group())).filter(|dir| dir.exists()).collect()
    }

    pub fn group(&self) -> String {
        format!("podloom-test-{}", self.id)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podloom-oci"));
        command.arg("--root").arg(self.dir.join("state")).args(["delete", "--force", &self.id]);
        let _ = command.stderr(Stdio::null()).stdout(Stdio::null()).status();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn config(command: &str, id: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {"args": ["sh", "-c", command], "env": ["PATH=/bin"], "cwd": "/", "user": {}},
        "root": {"path": "rootfs"},
        "hostname": "inside",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {
            "cgroupsPath": format!("/podloom-test-{id}"),
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "mount"}, {"type": "cgroup"}],
        },
    })
}

/// Waits for a child; `None` when the time came first.
pub fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return Some(status);
        }
        if Instant::now() > until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The output of a command that succeeded.
pub fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, errors(output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What a command said on its standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
