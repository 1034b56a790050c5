//! Nodes and pods: network namespaces that end with this program, however it ends.

use crate::error::{About, Error, Result};
use netns::Netns;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Everything that a run puts on the machine: one directory, removed on drop, and mounts in a
/// private mount namespace.
#[derive(Debug)]
pub(crate) struct Site {
    dir: PathBuf,
}

impl Site {
    /// Makes the calling process's mounts private and `/run` its own. Must be called while the
    /// process has one thread.
    #[allow(
        clippy::disallowed_methods,
        reason = "a mount namespace, which crates/netns has no use for"
    )]
    pub(crate) fn open(data: &Path) -> Result<Site> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::new("benches", "network namespaces need root"));
        }
        let none: Option<&str> = None;
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).about("mount namespace")?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).about("/")?;
        // What lies in /run is kept in memory on a real node, and must be our own here: the lock
        // of iptables, and the state of plugins.
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).about("/run")?;
        std::fs::create_dir("/run/netns").about("/run/netns")?;
        let dir = data.join(format!("podloom-bench-{}", std::process::id()));
        std::fs::create_dir(&dir).about(dir.display())?;
        Ok(Site { dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts an empty directory in memory over a directory of the machine, for this program and what it
    /// starts. One that is not there is made.
    pub(crate) fn cover(&self, dir: &str) -> Result<()> {
        std::fs::create_dir_all(dir).about(dir)?;
        let none: Option<&str> = None;
        mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), none).about(dir)
    }

    /// First in `PATH`: iptables by nf_tables, whatever the machine's default is.
    pub(crate) fn prefer_nft_tools(&self) -> Result<()> {
        let bin = self.dir.join("bin");
        std::fs::create_dir(&bin).about(bin.display())?;
        let multi = Path::new("/usr/sbin/xtables-nft-multi");
        if !multi.exists() {
            return Err(Error::new(multi.display(), "iptables by nf_tables is not installed"));
        }
        for name in ["iptables", "ip6tables"] {
            for tail in ["", "-save", "-restore"] {
                let link = bin.join(format!("{name}{tail}"));
                std::os::unix::fs::symlink(multi, &link).about(link.display())?;
            }
        }
        Ok(())
    }

    /// `PATH` for everything that is run.
    pub(crate) fn path(&self) -> String {
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.dir.join("bin").display())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // What a run that failed has left mounted there holds its directories.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let below: Vec<&Path> =
            points.map(Path::new).filter(|point| point.starts_with(&self.dir)).collect();
        for point in below.into_iter().rev() {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
        // Nothing can be done about a directory that does not go away.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// One node: a network namespace, its pods and its directories.
#[derive(Debug)]
pub(crate) struct Node {
    space: Netns,
    pods: Vec<Netns>,
    dir: PathBuf,
    path: String,
    /// Programs that run as long as the node.
    kept: Mutex<Vec<Child>>,
}

impl Node {
    /// A node with its loopback interface up, and `pods` empty pods.
    pub(crate) fn new(site: &Site, pods: usize) -> Result<Node> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let space = make_space(&format!("node{number}"))?;
        let dir = site.dir().join(format!("node{number}"));
        std::fs::create_dir(&dir).about(dir.display())?;
        let mut node =
            Node { space, pods: Vec::new(), dir, path: site.path(), kept: Mutex::default() };
        for pod in 0..pods {
            node.pods.push(make_space(&format!("node{number}-pod{pod}"))?);
        }
        node.ip("link set lo up")?;
        Ok(node)
    }

    /// Runs `work` on a thread inside the node; what it starts is inside the node too.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.space.run(work).about("node")
    }

    /// `ip`, for setting up.
    pub(crate) fn ip(&self, arguments: &str) -> Result<()> {
        self.command("ip", &arguments.split(' ').collect::<Vec<_>>())
    }

    /// Runs a program inside the node, for setting up.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let subject = format!("{program} {}", arguments.join(" "));
        let run = || Command::new(program).args(arguments).env("PATH", &self.path).output();
        let output = self.inside(run)?.about(&subject)?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::new(subject, String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// `ip` in a pod, for setting up.
    pub(crate) fn ip_of_pod(&self, number: usize, arguments: &str) -> Result<()> {
        let name = self.pods[number].path().file_name().unwrap_or_default().to_string_lossy();
        self.ip(&format!("-n {name} {arguments}"))
    }

    /// Starts a program inside the node that ends with it.
    pub(crate) fn keep(&self, command: Command) -> Result<()> {
        self.keep_inside(&self.space, command)
    }

    /// The same in one of its pods.
    pub(crate) fn keep_in_pod(&self, number: usize, command: Command) -> Result<()> {
        self.keep_inside(&self.pods[number], command)
    }

    fn keep_inside(&self, space: &Netns, mut command: Command) -> Result<()> {
        let subject = command.get_program().to_string_lossy().into_owned();
        command.env("PATH", &self.path).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = space.run(|| command.spawn()).about("node")?.about(subject)?;
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        Ok(())
    }

    /// Turns IPv6 off for interfaces to come in a pod: five hundred new ones that look for routers
    /// and neighbours at once, each heard by all others, would be measured instead of the plugin.
    pub(crate) fn silence(&self, pod: usize) -> Result<()> {
        let key = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
        if !Path::new(key).exists() {
            return Ok(());
        }
        self.pods[pod].run(|| std::fs::write(key, "1")).about("pod")?.about(key)
    }

    /// The path of its namespace.
    pub(crate) fn netns(&self) -> &Path {
        self.space.path()
    }

    /// Runs `work` on a thread inside one of its pods.
    pub(crate) fn inside_pod<T: Send>(
        &self,
        number: usize,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T> {
        self.pods[number].run(work).about("pod")
    }

    pub(crate) fn pod(&self, number: usize) -> &Path {
        self.pods[number].path()
    }

    /// Where its leases are.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("leases")
    }

    /// A file or directory of its own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes one of its files.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.file(name);
        std::fs::write(&path, text).about(path.display())
    }

    /// Where plugins keep what must not outlive a boot.
    pub(crate) fn run_dir(&self) -> PathBuf {
        PathBuf::from("/run").join(self.dir.file_name().unwrap_or_default())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        for child in kept {
            // One that has ended by itself is what is wanted.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

fn make_space(name: &str) -> Result<Netns> {
    let path = Path::new("/run/netns").join(name);
    Netns::create(&path).about(path.display())
}
