//! Where the plugins under test are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A directory of plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bins {
    dir: PathBuf,
    name: &'static str,
}

const PLUGINS: &[&str] = &[
    "bridge",
    "ptp",
    "macvlan",
    "ipvlan",
    "vlan",
    "dummy",
    "host-device",
    "tap",
    "host-local",
    "static",
    "dhcp",
    "portmap",
    "firewall",
    "sbr",
    "loopback",
    "tuning",
    "bandwidth",
    "vrf",
    "flannel",
];

impl Bins {
    /// Podloom's: `PODLOOM_CNI_BIN_DIR`, else the profile's folder of the target directory that
    /// the running test lies in.
    ///
    /// `./dev test` builds everything first. Programs that are missing there are built once; one
    /// that exists is taken as it is, so after a change build the workspace before a single test.
    pub fn ours() -> Bins {
        static DIR: OnceLock<PathBuf> = OnceLock::new();
        let dir = DIR.get_or_init(|| match std::env::var_os("PODLOOM_CNI_BIN_DIR") {
            Some(dir) => dir.into(),
            None => built(PLUGINS),
        });
        Bins { dir: dir.clone(), name: "podloom" }
    }

    /// Any directory.
    pub fn at(dir: impl Into<PathBuf>, name: &'static str) -> Bins {
        Bins { dir: dir.into(), name }
    }

    /// The directory: an element of `CNI_PATH`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What messages call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The program of a plugin.
    pub fn program(&self, plugin: &str) -> PathBuf {
        self.dir.join(plugin)
    }
}

/// The reference plugins: `PODLOOM_REFERENCE_DIR`, else Debian's containernetworking-plugins.
/// Where they are missing that is reported as a skip, and the test returns.
pub fn reference() -> Option<Bins> {
    let dir = std::env::var_os("PODLOOM_REFERENCE_DIR")
        .map_or_else(|| PathBuf::from("/usr/lib/cni"), PathBuf::from);
    if dir.join("bridge").is_file() {
        return Some(Bins::at(dir, "reference"));
    }
    crate::skip(&format!(
        "no reference plugins in {}: install containernetworking-plugins or set \
         PODLOOM_REFERENCE_DIR",
        dir.display()
    ));
    None
}

/// The `podloom` command: in `PODLOOM_BIN_DIR`, else found as the plugins are.
pub fn podloom() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| match std::env::var_os("PODLOOM_BIN_DIR") {
            Some(dir) => PathBuf::from(dir).join("podloom"),
            None => built(&["podloom"]).join("podloom"),
        })
        .clone()
}

/// The program `podloom-shim`: in `PODLOOM_BIN_DIR`, else found as the plugins are.
pub fn podloom_shim() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| match std::env::var_os("PODLOOM_BIN_DIR") {
            Some(dir) => PathBuf::from(dir).join("podloom-shim"),
            None => built(&["podloom-shim"]).join("podloom-shim"),
        })
        .clone()
}

/// The folder of the build profile, with `programs` in it.
fn built(programs: &[&str]) -> PathBuf {
    let own = std::env::current_exe().expect("the path of the test program");
    // target/<triple?>/<profile>/deps/<test>
    let dir = own.ancestors().nth(2).expect("a test program lies in target/<profile>/deps");
    if programs.iter().all(|p| dir.join(p).is_file()) {
        return dir.to_owned();
    }
    let release = dir.file_name().is_some_and(|n| n == "release");
    // The outer cargo has released its lock before it runs tests, so this one may take it.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--bins"]);
    for program in programs {
        match *program {
            "podloom" => cargo.args(["-p", "podloom"]),
            "podloom-shim" => cargo.args(["-p", "shim"]),
            plugin => cargo.arg("-p").arg(format!("plugin-{plugin}")),
        };
    }
    if release {
        cargo.arg("--release");
    }
    let target = dir.ancestors().nth(1).expect("target/<profile>");
    cargo.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = cargo.status().expect("run cargo");
    assert!(status.success(), "build the plugins first: ./dev test does");
    dir.to_owned()
}
