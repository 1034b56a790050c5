//! A container for tests: a host with mounts of its own, and in it a first process that mounts
//! what a configuration says. Nothing of it reaches the machine.
#![allow(unsafe_code, reason = "fork, clone and namespaces have no safe wrappers")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "fails the test")]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part")]

use rootfs::{Cgroups, Failure, Mounted, Plan, Situation};
use rustix::fd::{AsFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// First host ID of containers with a user namespace.
pub const BASE: u32 = 100_000;

/// A directory for one test, removed at its end.
pub struct Bundle(pub PathBuf);

impl Bundle {
    pub fn new(name: &str) -> Bundle {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("podloom-rootfs-{name}-{id}-{number}"));
        for folder in ["", "rootfs", "rootfs/proc", "rootfs/sys", "rootfs/dev", "rootfs/tmp"] {
            std::fs::create_dir(path.join(folder)).unwrap();
            std::fs::set_permissions(path.join(folder), PermissionsExt::from_mode(0o755)).unwrap();
        }
        std::fs::create_dir(path.join("rootfs/etc")).unwrap();
        Bundle(path)
    }

    /// A file or directory of the image.
    pub fn image(&self, path: &str) -> PathBuf {
        self.0.join("rootfs").join(path)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What kind of container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Root of the host.
    Root,
    /// Root of a user namespace that root of the host made.
    User,
    /// Root of a user namespace that an ordinary user made.
    Rootless,
}

/// A configuration with the usual mounts in front of `mounts`, and `linux` merged in.
pub fn config(who: Who, mounts: Value, linux: Value) -> Value {
    let mut all = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc",
            "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
    ];
    all.extend(mounts.as_array().unwrap().iter().cloned());
    bare(who, json!(all), linux)
}

/// A configuration with just these mounts.
pub fn bare(who: Who, mounts: Value, linux: Value) -> Value {
    let mut spaces = vec!["mount", "pid", "network", "ipc", "uts", "cgroup"];
    let mut own = serde_json::Map::new();
    if who != Who::Root {
        spaces.push("user");
        let size = if who == Who::User { 65536 } else { 1 };
        let map = json!([{"containerID": 0, "hostID": BASE, "size": size}]);
        own.insert("uidMappings".into(), map.clone());
        own.insert("gidMappings".into(), map);
    }
    let spaces: Vec<_> = spaces.iter().map(|kind| json!({"type": kind})).collect();
    own.insert("namespaces".into(), json!(spaces));
    own.extend(linux.as_object().unwrap().clone());
    json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "mounts": mounts, "linux": own})
}

/// The steps of a container's first process, for tests that do more between them.
pub type Child<'a> = dyn FnOnce(&Plan, &rootfs::Prepared) -> Result<String, Failure> + 'a;

/// What a run is made of.
pub struct Run<'a> {
    pub bundle: &'a Bundle,
    pub who: Who,
    pub config: Value,
    pub situation: Situation,
    /// The network namespace is the host's.
    pub share_network: bool,
    /// Runs in the host's mount namespace, before anything.
    pub host: Box<dyn FnOnce() + 'a>,
    /// Runs there while the container lives and after it has answered.
    pub after: Box<dyn FnOnce() -> String + 'a>,
}

impl<'a> Run<'a> {
    pub fn new(bundle: &'a Bundle, who: Who, config: Value) -> Run<'a> {
        let situation = Situation {
            bundle: bundle.0.clone(),
            cgroups: Cgroups::Absent,
            ..Situation::default()
        };
        let (host, after) = (Box::new(|| ()), Box::new(String::new));
        Run { bundle, who, config, situation, share_network: false, host, after }
    }

    /// Runs `inside` in the finished container and answers what it says.
    pub fn inside(self, inside: impl FnOnce() -> String) -> Result<String, String> {
        self.child(Box::new(|plan, prepared| {
            let mut mounted = plan.mount(prepared)?;
            mounted.pivot()?;
            mounted.finish()?;
            Ok(inside())
        }))
    }

    /// Runs `before` on the mounted root, still on the host, then `inside` as usual.
    pub fn steps(
        self,
        before: impl FnOnce(&Mounted<'_>) -> Result<(), Failure>,
        inside: impl FnOnce() -> String,
    ) -> Result<String, String> {
        self.child(Box::new(|plan, prepared| {
            let mut mounted = plan.mount(prepared)?;
            before(&mounted)?;
            mounted.pivot()?;
            mounted.finish()?;
            Ok(inside())
        }))
    }

    /// Runs a first process.
    pub fn child(self, child: Box<Child<'_>>) -> Result<String, String> {
        if self.who != Who::Root {
            give(&self.bundle.0.join("rootfs"), BASE);
        }
        forked(|| {
            let made = rustix::thread::UnshareFlags::NEWNS;
            // SAFETY: a process of one thread, made for this test.
            unsafe { rustix::thread::unshare_unsafe(made) }.unwrap();
            let private = rustix::mount::MountPropagationFlags::PRIVATE;
            let all = private | rustix::mount::MountPropagationFlags::REC;
            rustix::mount::mount_change(c"/", all).unwrap();
            self.on_host(child)
        })
    }

    fn on_host(self, child: Box<Child<'_>>) -> Result<String, String> {
        (self.host)();
        let spec = serde_json::from_value(self.config).map_err(|error| error.to_string())?;
        let plan = Plan::new(&spec, &self.situation).map_err(|error| error.to_string())?;
        if self.who == Who::Rootless {
            become_user();
        }
        let prepared = plan.prepare().map_err(|error| error.to_string())?;
        let user = self.who != Who::Root;
        let answer = cloned((user, self.share_network), || child(&plan, &prepared));
        let mut answer = answer.map_err(|answer| match answer {
            Broken::Failed(failure) => plan.explain(failure).to_string(),
            Broken::Panicked(text) => format!("panic: {text}"),
        })?;
        answer.push_str(&(self.after)());
        Ok(answer)
    }
}

fn give(path: &Path, owner: u32) {
    std::os::unix::fs::lchown(path, Some(owner), Some(owner)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), owner);
        }
    }
}

fn become_user() {
    // SAFETY: a process of one thread, made for this test.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(BASE, BASE, BASE), 0);
        assert_eq!(libc::setresuid(BASE, BASE, BASE), 0);
        // Changing users hides /proc/self from its owner, which writes the ID mappings there.
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    }
}

/// The user namespace knows no user of the host's, so what is made would have no owner.
fn become_root() {
    // SAFETY: a process of one thread, made for this test.
    unsafe {
        assert_eq!(libc::setresgid(0, 0, 0), 0);
        assert_eq!(libc::setresuid(0, 0, 0), 0);
    }
}

/// Runs a closure in a forked process and answers what it says.
pub fn forked(work: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    // SAFETY: the C library's fork keeps its allocator usable in the child.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        drop(read);
        let answer =
            catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(words(&panic)));
        let (mark, text) = match answer {
            Ok(text) => (b'o', text),
            Err(text) => (b'e', text),
        };
        send(write, mark, text.as_bytes());
    }
    drop(write);
    let text = receive(read, pid, 0);
    let (mark, text) = text.split_at_checked(1).expect("the host's process died");
    if mark == "o" { Ok(text.to_owned()) } else { Err(text.to_owned()) }
}

pub enum Broken {
    Failed(Failure),
    Panicked(String),
}

/// Runs a closure in a process with namespaces of its own.
pub fn cloned(
    (user, share_network): (bool, bool),
    work: impl FnOnce() -> Result<String, Failure>,
) -> Result<String, Broken> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET;
    flags |= libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP | libc::SIGCHLD;
    if user {
        flags |= libc::CLONE_NEWUSER;
    }
    if share_network {
        flags &= !libc::CLONE_NEWNET;
    }
    // SAFETY: without a stack the child is a copy, as after fork; the caller has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, i64::from(flags), 0, 0, 0, 0) } as i32;
    assert!(pid >= 0, "clone: {}", std::io::Error::last_os_error());
    if pid == 0 {
        drop((read, go));
        let mut byte = [0];
        assert_eq!(rustix::io::read(&wait, &mut byte), Ok(0));
        if user {
            become_root();
        }
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(text)) => send(write, b'o', text.as_bytes()),
            Ok(Err(failure)) => send(write, b'f', &failure.to_bytes()),
            Err(panic) => send(write, b'p', words(&panic).as_bytes()),
        }
    }
    drop((write, wait));
    if user {
        map_ids(pid);
    }
    drop(go);
    let bytes = receive_bytes(read, pid, 0);
    match bytes.split_first() {
        Some((b'o', text)) => Ok(String::from_utf8_lossy(text).into_owned()),
        Some((b'f', failure)) => {
            let failure = Failure::from_bytes(failure.try_into().unwrap());
            Err(Broken::Failed(failure.expect("a failure")))
        }
        Some((_, text)) => Err(Broken::Panicked(String::from_utf8_lossy(text).into_owned())),
        None => Err(Broken::Panicked("the container's process died".into())),
    }
}

fn map_ids(pid: i32) {
    let root = rustix::process::geteuid().is_root();
    let size = if root { 65536 } else { 1 };
    if !root {
        std::fs::write(format!("/proc/{pid}/setgroups"), "deny").unwrap();
    }
    for file in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{file}"), format!("0 {BASE} {size}")).unwrap();
    }
}

fn words(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn send(pipe: OwnedFd, mark: u8, text: &[u8]) -> ! {
    let mut pipe = std::fs::File::from(pipe);
    let _ = pipe.write_all(&[mark]).and_then(|()| pipe.write_all(text));
    // SAFETY: ends the copy without running what belongs to the original.
    unsafe { libc::_exit(0) }
}

fn receive(pipe: OwnedFd, pid: i32, options: i32) -> String {
    String::from_utf8_lossy(&receive_bytes(pipe, pid, options)).into_owned()
}

fn receive_bytes(pipe: OwnedFd, pid: i32, options: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::fs::File::from(pipe).read_to_end(&mut bytes).unwrap();
    // SAFETY: waits for our own child; its status is not wanted.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), options) };
    bytes
}

/// The lines of mountinfo for a place, the topmost last: options, then type, source and options
/// of the file system.
pub fn mounts_at(place: &str) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let at = |line: &&str| line.split(' ').nth(4) == Some(place);
    text.lines()
        .filter(at)
        .map(|line| {
            let (own, fs) = line.split_once(" - ").unwrap();
            let own: Vec<_> = own.split(' ').skip(5).collect();
            format!("{} {fs}", own.join(" "))
        })
        .collect()
}

/// The topmost mount at a place.
pub fn mount_at(place: &str) -> String {
    mounts_at(place).pop().unwrap_or_else(|| panic!("nothing is mounted at {place}"))
}

/// Mounts a fresh tmpfs.
pub fn tmpfs(path: &Path) {
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount(c"tmpfs", path, c"tmpfs", flags, None).unwrap();
}

/// The words of an error.
pub fn refused(answer: Result<String, String>) -> String {
    match answer {
        Err(text) => text,
        Ok(text) => panic!("was not refused: {text}"),
    }
}

pub fn fd_of(fd: &impl AsFd) -> i32 {
    rustix::fd::AsRawFd::as_raw_fd(&fd.as_fd())
}
