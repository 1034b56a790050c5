//! A pod's shim, bundles for it, and a daemon's connection.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses a part, and a test fails by panic"
)]

use serde_json::{Value, json};
use shim_client::protocol::{BuiltIn, CgroupDriver, Create, Log, Runtime, Stdio};
use shim_client::{Descriptors, Shim, Spawn};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longest that a step of a test may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

const APPLETS: &str = "sh true false sleep ls cat id ps grep echo hostname kill stat pwd wc tr head \
    test touch tty seq yes dd stty ip mkdir sysctl trap ln readlink printf";

/// A directory with a root file system, and the shims that run in it.
pub struct Room {
    pub dir: PathBuf,
    pub number: String,
}

impl Room {
    /// A room; `None`, after a skip, where this cannot run.
    pub fn new() -> Option<Room> {
        if !rustix::process::geteuid().is_root() {
            lab::skip("shims: need root");
            return None;
        }
        let busybox = Path::new("/bin/busybox");
        if !busybox.is_file() {
            lab::skip("busybox: not installed (busybox-static)");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let number = format!("s{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(format!("podloom-shim-{number}"));
        let rootfs = dir.join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
            std::fs::create_dir_all(rootfs.join(name)).expect("a directory");
        }
        std::fs::copy(busybox, rootfs.join("bin/busybox")).expect("busybox");
        for applet in APPLETS.split_whitespace() {
            symlink("busybox", rootfs.join("bin").join(applet)).expect("an applet");
        }
        Some(Room { dir, number })
    }

    pub fn shim_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    pub fn spawn_of(&self) -> Spawn {
        Spawn {
            program: env!("CARGO_BIN_EXE_podloom-shim").into(),
            dir: self.shim_dir(),
            id: self.number.clone(),
            cgroup: None,
            oom_score_adj: None,
        }
    }

    /// A shim of this room.
    pub async fn spawn(&self) -> Shim {
        Shim::spawn(&self.spawn_of()).await.expect("a shim")
    }

    /// A bundle whose process is `sh -c command`.
    pub fn bundle(&self, id: &str, command: &str) -> Bundle {
        let dir = self.dir.join("bundles").join(id);
        std::fs::create_dir_all(&dir).expect("a directory");
        let mut config = config(command);
        config["root"]["path"] = json!(self.dir.join("rootfs"));
        config["linux"]["cgroupsPath"] = json!(format!("/podloom-test-{}/{id}", self.number));
        let log = self.log_path(id);
        let cgroups = Some(CgroupDriver::Cgroupfs);
        let runtime = Runtime::BuiltIn(BuiltIn { cgroups, ..BuiltIn::default() });
        Bundle { dir, id: id.to_owned(), config, log, runtime }
    }

    pub fn log_path(&self, id: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{id}.log"))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What a failed test left; a shim that was told to end is gone by now.
        if let Some(pid) = shim_pid(&self.shim_dir()) {
            kill(pid);
        }
        let _ = shim_client::unpin(&self.shim_dir(), Some(&self.dir.join("net")));
        let _ = std::fs::remove_dir_all(&self.dir);
        let trees = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for tree in trees.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
            remove_groups(&tree.join(format!("podloom-test-{}", self.number)));
        }
    }
}

/// Removes the control groups that a failed test left, and ends what is in them.
fn remove_groups(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let processes = std::fs::read_to_string(entry.path().join("cgroup.procs"));
        processes.unwrap_or_default().lines().filter_map(|pid| pid.parse().ok()).for_each(kill);
        let limit = std::time::Instant::now() + Duration::from_secs(2);
        while entry.path().is_dir()
            && std::fs::remove_dir(entry.path()).is_err()
            && std::time::Instant::now() < limit
        {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let _ = std::fs::remove_dir(parent);
}

/// Ends a process that a test started.
pub fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a number");
    // It may have ended.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// The shim whose command line names a directory.
pub fn shim_pid(dir: &Path) -> Option<i32> {
    let wanted = dir.to_str().expect("a path");
    std::fs::read_dir("/proc").expect("/proc").flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = line.split(|byte| *byte == 0);
        let is_shim = words.next() == Some(b"podloom-shim");
        (is_shim && words.any(|word| word == wanted.as_bytes())).then_some(pid)
    })
}

/// A container to make.
pub struct Bundle {
    pub dir: PathBuf,
    pub id: String,
    pub config: Value,
    pub log: PathBuf,
    pub runtime: Runtime,
}

impl Bundle {
    pub fn set(&mut self, pointer: &str, value: Value) {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        self.config.pointer_mut(parent).expect("a parent")[key] = value;
    }

    pub fn push(&mut self, pointer: &str, value: Value) {
        let list = self.config.pointer_mut(pointer).and_then(Value::as_array_mut);
        list.expect("a list").push(value);
    }

    /// Writes it, and what is asked of a shim for it, with a log.
    pub fn create(&self) -> Create {
        std::fs::write(self.dir.join("config.json"), self.config.to_string()).expect("a file");
        let log = Log { path: self.log.clone(), ..Log::default() };
        let terminal = self.config["process"]["terminal"].as_bool().unwrap_or(false);
        Create {
            id: self.id.clone(),
            bundle: self.dir.clone(),
            runtime: self.runtime.clone(),
            stdio: Stdio { terminal, log: Some(log), ..Stdio::default() },
        }
    }

    /// Creates and starts it.
    pub async fn run(&self, shim: &Shim) -> i32 {
        let made = shim.create(&self.create()).await.expect("a container");
        shim.start(&self.id).await.expect("started");
        made.pid
    }

    /// The texts of its log's lines.
    pub fn lines(&self) -> Vec<String> {
        lines(&self.log)
    }
}

/// Stream, tag and text of each line of a log.
pub fn lines(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.split_terminator('\n').map(|line| line.split_once(' ').expect(line).1.to_owned()).collect()
}

/// A `process` for exec.
pub fn process(command: &str) -> Value {
    let caps = ["CAP_KILL", "CAP_NET_ADMIN"];
    json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", command],
        "env": ["PATH=/bin", "TERM=xterm"],
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps}})
}

/// A pipe.
pub fn pipe() -> (File, std::os::fd::OwnedFd) {
    let (read, write) = std::io::pipe().expect("a pipe");
    (File::from(std::os::fd::OwnedFd::from(read)), write.into())
}

/// Runs a command in a container: its output, and its exit status.
pub async fn exec(shim: &Shim, id: &str, name: &str, command: &str) -> (String, i32) {
    let (mut reader, stdout) = pipe();
    let stderr = stdout.try_clone().expect("a descriptor");
    let streams = Descriptors { stdin: None, stdout: Some(stdout), stderr: Some(stderr) };
    let made = shim.exec(id, name, process(command), streams).await;
    let exit = made.expect("a process").wait().await.expect("its end");
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("output");
    (text, exit.code)
}

fn config(command: &str) -> Value {
    let caps = ["CAP_KILL", "CAP_NET_ADMIN"];
    let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "", "readonly": false},
        "process": {
            "cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", command],
            "env": ["PATH=/bin", "TERM=xterm"],
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {
            "namespaces": namespaces,
        }
    })
}
