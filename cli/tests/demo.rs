//! `podloom net demo` with the real plugins, and what it does when a plugin leaks.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use lab::Bins;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

fn demo(plugins: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podloom"));
    command.args(["net", "demo", "--plugin-dir", plugins]).args(words);
    command.output().expect("podloom")
}

fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        lab::skip("the demo needs root");
    }
    root
}

#[test]
fn the_demo_leaves_nothing() {
    if !root() {
        return;
    }
    let before = fs::read_to_string("/proc/net/dev").map(|text| text.lines().count());
    let output = demo(&Bins::ours().dir().to_string_lossy(), &["-o", "json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let doc: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(doc["ok"], true);
    let steps = doc["steps"].as_array().expect("steps");
    assert!(steps.len() > 20 && steps.iter().all(|step| step["ok"] == true), "{doc}");
    let last = steps.last().expect("a last step");
    assert!(last["detail"].as_str().is_some_and(|text| text.contains("0 leases")), "{last}");
    let after = fs::read_to_string("/proc/net/dev").map(|text| text.lines().count());
    assert_eq!(before.ok(), after.ok(), "links of this machine");
}

/// With an allocator that never releases an address, the demo must fail and say so.
#[test]
fn the_demo_fails_when_something_is_left() {
    if !root() {
        return;
    }
    let dir = std::env::temp_dir().join(format!("podloom-leaky-{}", std::process::id()));
    fs::create_dir(&dir).expect("directory");
    let ours = Bins::ours();
    for plugin in ["bridge", "ptp", "portmap", "loopback"] {
        std::os::unix::fs::symlink(ours.program(plugin), dir.join(plugin)).expect("link");
    }
    let real = ours.program("host-local");
    let script = "#!/bin/sh\ncase $CNI_COMMAND in DEL|GC) exit 0 ;; esac\nexec ";
    fs::write(dir.join("host-local"), format!("{script}{}\n", real.display())).expect("script");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.join("host-local"), mode).expect("mode");
    let output = demo(&dir.to_string_lossy(), &[]);
    fs::remove_dir_all(&dir).expect("removed");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the node differs"), "{said}");
    assert!(said.contains("leases: + containerd-net/10.88."), "{said}");
}

#[test]
fn without_plugins_it_says_where_it_looked() {
    if !root() {
        return;
    }
    let output = demo("/nonexistent", &[]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("none of /nonexistent has all of bridge"), "{said}");
}
