//! What a killed run left is swept by the next one.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use lab::Lab;
use std::path::Path;
use std::process::Command;

#[test]
fn labs_of_dead_processes_are_swept_and_those_of_the_living_stay() {
    // No process has this pid; the second is this one's, which began at another time.
    let own = std::process::id();
    let dead = [leftover("4194305.1.1.dead"), leftover(&format!("{own}.1.1.reused"))];
    let lab = Lab::new("living");
    for root in dead {
        assert!(!root.exists(), "{}", root.display());
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        assert!(!mounts.contains(&*root.to_string_lossy()), "{mounts}");
    }
    assert!(lab.root().exists());
    assert!(lab.node().has_link("lo"));
}

/// A lab's directory with a bound namespace.
fn leftover(name: &str) -> std::path::PathBuf {
    let root = Path::new("/tmp/podloom-lab").join(name);
    std::fs::create_dir_all(root.join("ns")).expect("a directory");
    let bound = root.join("ns/node");
    std::fs::write(&bound, "").expect("a file");
    let mut command = Command::new("unshare");
    command.args(["--net", "mount", "--bind", "/proc/self/ns/net"]).arg(&bound);
    assert!(command.status().expect("unshare of util-linux").success());
    root
}
