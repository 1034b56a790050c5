//! A node of its own for each test.

use crate::enter::Ns;
use crate::outside::Outside;
use crate::plugin::Plugin;
use crate::snapshot::Snapshot;
use crate::{Bins, running, sweep};
use std::io;
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A node with its pods' and its own state, removed on drop.
#[derive(Debug)]
pub struct Lab {
    node: Ns,
    root: PathBuf,
    outsides: AtomicU32,
    kept: Mutex<Vec<Child>>,
}

/// A pod's network namespace, with the identifiers that a runtime would give.
#[derive(Debug)]
pub struct Pod {
    ns: Ns,
    id: String,
}

impl Lab {
    /// Makes a node. `name` is the test's, for messages.
    ///
    /// # Panics
    /// Without root.
    pub fn new(name: &str) -> Lab {
        assert!(nix::unistd::geteuid().is_root(), "the lab needs root: run ./dev test as root");
        running::hold_if_over();
        sweep::leftovers();
        let root = sweep::root_for(name, NEXT.fetch_add(1, Ordering::Relaxed));
        for dir in ["ns", "conf", "cache/results", "data", "run", "tmp"] {
            std::fs::create_dir_all(root.join(dir))
                .unwrap_or_else(|e| panic!("{}: {e}", root.display()));
        }
        let node = Ns::make("node", &root.join("ns/node"));
        node.ip("link set lo up");
        Lab { node, root, outsides: AtomicU32::new(0), kept: Mutex::default() }
    }

    /// The node's namespace.
    pub fn node(&self) -> &Ns {
        &self.node
    }

    /// A pod with an empty namespace. `name` is unique in the lab.
    pub fn pod(&self, name: &str) -> Pod {
        let path = self.root.join("ns").join(format!("pod-{name}"));
        Pod { ns: Ns::make(name, &path), id: format!("pod-{name}") }
    }

    /// A host beyond the node, linked to it by a veth of its own; its default routes lead to the
    /// node. Networks are given as `192.0.2.0/24` or `2001:db8::/64`; the node has the first
    /// address of each, the host the second.
    pub fn outside(&self, name: &str, networks: &[&str]) -> Outside {
        let ns = Ns::make(name, &self.root.join("ns").join(format!("outside-{name}")));
        let number = self.outsides.fetch_add(1, Ordering::Relaxed);
        Outside::link(&self.node, ns, number, networks)
    }

    /// Podloom's plugin of this name, to be run on the node.
    pub fn plugin(&self, name: &str) -> Plugin<'_> {
        Plugin::new(self, &Bins::ours(), name)
    }

    /// A plugin of `bins`, to be run on the node.
    pub fn plugin_of(&self, bins: &Bins, name: &str) -> Plugin<'_> {
        Plugin::new(self, bins, name)
    }

    /// Starts a program on the node, with [`Lab::private_dirs`] over the machine's; it ends with the
    /// lab.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn keep(&self, command: Command) {
        let over = self.private_dirs();
        self.kept_by(command, |command| self.node.run_private(&over, || command.spawn()));
    }

    /// As [`Lab::keep`], with the machine's own directories: where its mounts are private, a program
    /// among private mounts does not see the namespaces of pods that are made later.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn serve(&self, command: Command) {
        self.kept_by(command, |command| self.node.run(|| command.spawn()));
    }

    fn kept_by(&self, mut command: Command, start: impl FnOnce(&mut Command) -> io::Result<Child>) {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0);
        let child = start(&mut command);
        let child = child.unwrap_or_else(|e| panic!("{}: {e}", command.get_program().display()));
        running::begun(&child);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    }

    /// All that plugins may leave on the node: links, addresses, routes, rules, files.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.node, &[self.data_dir(), self.run_dir(), self.cache_dir()])
    }

    /// As [`Lab::snapshot`], with files of these directories instead of the lab's own.
    pub fn snapshot_with(&self, dirs: &[PathBuf]) -> Snapshot {
        Snapshot::take(&self.node, dirs)
    }

    /// The node's conntrack entries, one per line, without their ages.
    pub fn conntrack(&self) -> Vec<String> {
        crate::snapshot::conntrack(&self.node)
    }

    /// Where everything of the lab lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// For `dataDir` of host-local: leases.
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// For `PODLOOM_RUN_DIR`.
    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    /// For libcni's cache.
    pub fn cache_dir(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// For network configuration lists.
    pub fn conf_dir(&self) -> PathBuf {
        self.root.join("conf")
    }

    /// For anything else.
    pub fn tmp_dir(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Directories that lie over the machine's own for a program whose paths are fixed: `/run`,
    /// `/var/lib` and `/etc/cni`'s parent stay private to the lab. For [`Ns::run_private`].
    pub fn private_dirs(&self) -> Vec<(PathBuf, PathBuf)> {
        ["/run", "/var/lib"]
            .map(|target| {
                let source = self.root.join("private").join(&target[1..]);
                std::fs::create_dir_all(&source)
                    .unwrap_or_else(|e| panic!("{}: {e}", source.display()));
                (source, PathBuf::from(target))
            })
            .into()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in self.kept.get_mut().unwrap_or_else(PoisonError::into_inner) {
            running::end(child);
        }
        self.node.delete();
        sweep::remove(&self.root);
    }
}

impl Pod {
    /// `CNI_CONTAINERID`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The same pod under another container ID.
    #[must_use]
    pub fn with_id(self, id: &str) -> Pod {
        Pod { id: id.to_owned(), ..self }
    }
}

impl Deref for Pod {
    type Target = Ns;

    fn deref(&self) -> &Ns {
        &self.ns
    }
}
