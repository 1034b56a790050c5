//! A server under measurement: started on a node of its own, killed, started again, ended.

use super::kind::{Place, Team};
use crate::error::{About, Error, Result};
use crate::node::{Node, Site};
use cri_tests::Client;
use images::{Image, Registry};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How long a server may take to answer after its start.
const START: Duration = Duration::from_secs(60);

/// Memory of the processes that a server keeps for its pods.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kept {
    pub(crate) processes: usize,
    /// KiB.
    pub(crate) rss: u64,
    /// KiB; what several share is divided among them.
    pub(crate) pss: u64,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) team: Team,
    pub(crate) place: Place,
    pub(crate) node: Node,
    /// Where its pods have their control groups.
    pub(crate) cgroup: String,
    daemon: Option<Child>,
    /// Dropped, it ends the thread with which the registry's programs end.
    _registry: Sender<()>,
}

impl Server {
    /// Starts it on a node of its own, with the image.
    pub(crate) fn start(
        site: &Site,
        team: &Team,
        (cgroups, image): (&str, &Image),
        runtime: &Runtime,
    ) -> Result<Server> {
        let node = Node::new(site, 0)?;
        let (keeper, registry) = registry_on(&node, image)?;
        let label = team.label();
        let root = site.dir().join(label);
        fs::create_dir_all(&root).about(root.display())?;
        let place = Place { root, run: PathBuf::from("/run").join(label), registry };
        let cgroup = format!("{cgroups}/{label}");
        let mut server =
            Server { team: team.clone(), place, node, cgroup, daemon: None, _registry: keeper };
        server.serve(runtime)?;
        let name = server.image();
        let pulled = runtime.block_on(async { server.client().try_pull(&name).await });
        pulled.map_err(|status| Error::new(label, format!("pull of {name}: {status}")))?;
        Ok(server)
    }

    /// Starts the daemon and waits until it answers. How long that took.
    pub(crate) fn serve(&mut self, runtime: &Runtime) -> Result<Duration> {
        let mut command = self.team.prepare(&self.place)?;
        let log = self.place.root.join("log");
        let log = File::options().create(true).append(true).open(&log).about(log.display())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let begun = Instant::now();
        self.daemon = Some(self.node.inside(|| command.spawn())?.about(self.team.label())?);
        while !runtime.block_on(async { self.client().answers().await }) {
            if begun.elapsed() > START {
                return Err(Error::new(
                    self.team.label(),
                    format!("does not answer: {}", self.log()),
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(begun.elapsed())
    }

    /// Kills the daemon; its pods go on.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        daemon.kill().about(self.team.label())?;
        daemon.wait().map(drop).about(self.team.label())
    }

    /// A client with a connection of its own.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.place.socket(), self.cgroup.clone(), self.place.root.join("pods"))
    }

    /// The name of the image that pods run.
    pub(crate) fn image(&self) -> String {
        format!("{}/bench:1", self.place.registry)
    }

    /// The daemon's resident set, KiB.
    pub(crate) fn resident(&self) -> Result<u64> {
        let daemon =
            self.daemon.as_ref().ok_or_else(|| Error::new(self.team.label(), "is down"))?;
        let path = format!("/proc/{}/status", daemon.id());
        let text = fs::read_to_string(&path).about(&path)?;
        field(&text, "VmRSS:").ok_or_else(|| Error::new(path, "has no VmRSS"))
    }

    /// What its processes beside the daemon hold: shims, monitors, and pause containers, which are
    /// those of the pods' groups that run `/pause`.
    pub(crate) fn kept(&self) -> Kept {
        let mut kept = Kept::default();
        for pid in self.helpers() {
            // One that has just ended holds nothing.
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            if let (Some(rss), Some(pss)) = (field(&text, "Rss:"), field(&text, "Pss:")) {
                kept.processes += 1;
                kept.rss += rss;
                kept.pss += pss;
            }
        }
        kept
    }

    fn helpers(&self) -> Vec<i32> {
        let daemon = self.daemon.as_ref().map(Child::id);
        let own = [
            self.place.run.display().to_string() + "/",
            self.place.root.display().to_string() + "/",
        ];
        let is_helper = |pid: &i32| {
            let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let command = String::from_utf8_lossy(&read("cmdline")).into_owned();
            let groups = String::from_utf8_lossy(&read("cgroup")).into_owned();
            let is_pause = command.starts_with("/pause") && groups.contains(&self.cgroup);
            is_pause || own.iter().any(|dir| command.contains(dir))
        };
        processes().filter(|pid| Some(pid.cast_unsigned()) != daemon).filter(is_helper).collect()
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.place.root.join("log")).unwrap_or_default();
        text.lines().rev().take(3).collect::<Vec<_>>().join(" / ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // It may be gone already; then there is nothing to end.
            let _ = kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM);
            let _ = daemon.wait();
        }
        for pid in self.helpers() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for pid in processes() {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            if groups.contains(&format!("{}/", self.cgroup)) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// All processes.
fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A number of KiB in a file of `/proc`.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// A registry on the node's loopback, with the image, and its address.
fn registry_on(node: &Node, image: &Image) -> Result<(Sender<()>, String)> {
    let (keeper, until) = channel::<()>();
    let (started, starting) = channel();
    let netns = node.netns().to_owned();
    let image = image.clone();
    std::thread::spawn(move || {
        let serve = move || {
            let registry = Registry::start();
            let host = registry.as_ref().map(|registry| {
                registry.push("bench", "1", &image);
                registry.plain_host()
            });
            if started.send(host).is_ok() {
                // Nothing is sent: this ends when the server is dropped.
                let _dropped = until.recv();
            }
        };
        if let Ok(space) = netns::Netns::open(&netns) {
            let _ended = space.run(serve);
        }
    });
    let missing = "docker-registry, htpasswd (apache2-utils) and setpriv must be installed";
    let host = starting.recv().ok().flatten().ok_or_else(|| Error::new("registry", missing))?;
    Ok((keeper, host))
}
