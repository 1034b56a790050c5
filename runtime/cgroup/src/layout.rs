//! Which hierarchies of control groups this machine has, and where.

use crate::error::{Error, Kind, Result};
use crate::path::RelPath;
use rustix::fs::statfs;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where the tree is mounted by convention.
pub(crate) const MOUNT: &str = "/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Most lists of mounts are not longer, in bytes.
const ROOM: usize = 16 << 10;

/// The two interfaces of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// One tree for each set of controllers.
    V1,
    /// One tree for all.
    V2,
}

/// How the hierarchies are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only v1 trees.
    V1,
    /// Only the v2 tree.
    V2,
    /// Controllers on v1 trees, and a v2 tree beside them.
    Hybrid,
}

/// One mounted tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The group that the mount point shows, as this process's cgroup namespace names it.
    pub root: String,
    /// v1: its controllers, or `name=...`. v2: empty, they are read when needed.
    pub controllers: Vec<String>,
    /// Which interface it has.
    pub version: Version,
}

/// The mounted trees of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// The layout of this machine, looked at once per process. With v2 alone it costs one system
    /// call; else `/proc/self/mountinfo` is read.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] when no cgroup filesystem is mounted, [`Kind::Io`] when mountinfo
    /// cannot be read.
    pub fn detect() -> Result<&'static Layout> {
        static LAYOUT: OnceLock<Layout> = OnceLock::new();
        if let Some(known) = LAYOUT.get() {
            return Ok(known);
        }
        let found = Self::look()?;
        Ok(LAYOUT.get_or_init(|| found))
    }

    fn look() -> Result<Layout> {
        if let Ok(fs) = statfs(MOUNT)
            && fs.f_type as u64 == CGROUP2_MAGIC
        {
            let only = Hierarchy {
                mount: MOUNT.into(),
                root: "/".into(),
                controllers: Vec::new(),
                version: Version::V2,
            };
            return Ok(Layout { hierarchies: vec![only] });
        }
        let path = Path::new("/proc/self/mountinfo");
        // Its size is not told: with room ahead it is read by few calls.
        let mut text = Vec::with_capacity(ROOM);
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, "open", e))?;
        std::io::Read::read_to_end(&mut &file, &mut text)
            .map_err(|e| Error::io(path, "read", e))?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// The layout told by the text of a `mountinfo` file (proc_pid_mountinfo(5)).
    ///
    /// # Errors
    /// [`Kind::Unsupported`] when it has no cgroup filesystem.
    pub fn parse(mountinfo: &str) -> Result<Layout> {
        let mut found: Vec<Hierarchy> = Vec::new();
        for tree in mountinfo.lines().filter_map(mounted) {
            let same =
                |h: &&mut Hierarchy| h.version == tree.version && h.controllers == tree.controllers;
            match found.iter_mut().find(same) {
                None => found.push(tree),
                // A second mount of the same tree: the conventional place and the real root win.
                Some(old) if rank(&tree) > rank(old) => *old = tree,
                Some(_) => {}
            }
        }
        if found.is_empty() {
            return Err(Error::new(Kind::Unsupported, MOUNT, "no cgroup filesystem is mounted"));
        }
        Ok(Layout { hierarchies: found })
    }

    /// How the trees are divided.
    pub fn mode(&self) -> Mode {
        let has = |v| self.hierarchies.iter().any(|h| h.version == v);
        match (has(Version::V1), has(Version::V2)) {
            (true, true) => Mode::Hybrid,
            (true, false) => Mode::V1,
            _ => Mode::V2,
        }
    }

    /// All trees.
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }
}

fn rank(tree: &Hierarchy) -> (bool, bool) {
    (tree.mount.starts_with(MOUNT), tree.root == "/")
}

/// The tree of a line of mountinfo, if it is one of control groups.
fn mounted(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let mut left = left.split(' ').skip(3);
    let (root, mount) = (unescape(left.next()?), unescape(left.next()?));
    let options = right.nth(1).unwrap_or("");
    let controllers = match version {
        Version::V2 => Vec::new(),
        Version::V1 => options.split(',').filter(|o| is_controller(o)).map(str::to_owned).collect(),
    };
    if version == Version::V1 && controllers.is_empty() {
        return None;
    }
    Some(Hierarchy { mount: mount.into(), root, controllers, version })
}

/// The controllers of v1 (cgroups(7)); other mount options stand beside them.
const CONTROLLERS: &[&str] = &[
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "net_cls",
    "net_prio",
    "blkio",
    "perf_event",
    "hugetlb",
    "pids",
    "rdma",
    "misc",
];

fn is_controller(option: &str) -> bool {
    CONTROLLERS.contains(&option) || option.starts_with("name=")
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let code = bytes.get(i + 1..i + 4).filter(|_| bytes[i] == b'\\');
        let value = code
            .and_then(|c| std::str::from_utf8(c).ok().and_then(|c| u8::from_str_radix(c, 8).ok()));
        out.push(value.unwrap_or(bytes[i]));
        i += if value.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The groups of a process, from `/proc/PID/cgroup` (cgroups(7)).
#[derive(Clone, Debug, Default)]
pub(crate) struct Membership(Vec<(Vec<String>, String)>);

impl Membership {
    pub(crate) fn of(pid: &str) -> Result<Self> {
        let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, "read", e))?;
        Ok(Self::parse(&text))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let mut parts = line.splitn(3, ':').skip(1);
            let names = parts.next()?;
            let names = names.split(',').filter(|n| !n.is_empty()).map(str::to_owned);
            Some((names.collect(), parts.next()?.to_owned()))
        };
        Self(text.lines().filter_map(entry).collect())
    }

    /// The group below the mount point of `tree`; `None` when it lies outside of it.
    pub(crate) fn below(&self, tree: &Hierarchy) -> Result<Option<RelPath>> {
        let same = |names: &Vec<String>| match tree.version {
            Version::V2 => names.is_empty(),
            Version::V1 => tree.controllers.iter().any(|c| names.contains(c)),
        };
        let Some((_, path)) = self.0.iter().find(|(names, _)| same(names)) else {
            return Ok(None);
        };
        // "/.." is a group above this process's cgroup namespace (cgroup_namespaces(7)).
        let root = if tree.root == "/" { "" } else { tree.root.as_str() };
        match path.strip_prefix(root) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                if rest.split('/').any(|p| p == "..") {
                    return Ok(None);
                }
                RelPath::parse(rest).map(Some)
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,seclabel,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
50 31 0:31 /pod /var/a\\040b rw - cgroup cgroup rw,memory
";

    #[test]
    fn hybrid_is_read() {
        let layout = Layout::parse(HYBRID).unwrap();
        assert_eq!(layout.mode(), Mode::Hybrid);
        let names: Vec<_> = layout.hierarchies().iter().map(|h| h.controllers.join(",")).collect();
        assert_eq!(names, ["cpu,cpuacct", "memory", "name=systemd", ""]);
        assert_eq!(layout.hierarchies()[1].mount, Path::new("/sys/fs/cgroup/memory"));
    }

    #[test]
    fn mount_roots_and_namespaces() {
        let text = "50 31 0:31 /docker/x /mnt/a\\040b rw - cgroup cgroup rw,memory\n";
        let layout = Layout::parse(text).unwrap();
        let tree = &layout.hierarchies()[0];
        assert_eq!(tree.mount, Path::new("/mnt/a b"));
        let below = |s: &str| Membership::parse(s).below(tree).unwrap().map(String::from);
        assert_eq!(below("4:memory:/docker/x/y/z").as_deref(), Some("y/z"));
        assert_eq!(below("4:memory:/docker/x").as_deref(), Some(""));
        assert_eq!(below("4:memory:/docker/xy"), None);
        assert_eq!(below("4:memory:/../x"), None);
        assert_eq!(below("4:cpu:/docker/x"), None);
        let v2 = Hierarchy { root: "/".into(), version: Version::V2, ..tree.clone() };
        let own = Membership::parse("0::/user.slice/a:b\n").below(&v2).unwrap();
        assert_eq!(own.map(String::from).as_deref(), Some("user.slice/a:b"));
        assert_eq!(Membership::parse("0::/../x").below(&v2).unwrap(), None);
    }

    #[test]
    fn nothing_mounted_is_an_error() {
        assert_eq!(
            Layout::parse("1 0 0:1 / / rw - ext4 a rw\n").unwrap_err().kind(),
            Kind::Unsupported
        );
    }

    #[test]
    fn this_machine_has_one() {
        assert!(!Layout::detect().unwrap().hierarchies().is_empty());
    }
}
