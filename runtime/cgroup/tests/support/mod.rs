//! What the tests of this crate share.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]

use cgroup::{Cgroup, Created, Request};
use runtime_spec::Resources;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A path of this test program's own.
pub(crate) fn path(name: &str) -> String {
    format!("/podloom-test-{}-{name}", std::process::id())
}

pub(crate) fn create(name: &str) -> Created {
    Cgroup::create(&Request { path: Some(&path(name)), ..Request::new(name) }).unwrap()
}

pub(crate) fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

/// Runs a shell script inside the group, from its first command on.
pub(crate) fn run_in(group: &Cgroup, script: &str) -> Child {
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    group.add(child.id()).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    child
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a file of the group holds; the controller's v1 name and file, and the file of v2.
pub(crate) fn value(group: &Cgroup, v1: (&str, &str), v2: &str) -> Option<String> {
    let by = group.paths().by_controller();
    let file = match by.get(v1.0) {
        Some(dir) => dir.join(v1.1),
        None => by.get("")?.join(v2),
    };
    std::fs::read_to_string(file).ok().map(|t| t.trim().to_owned())
}

/// Whether any directory of the group is left.
pub(crate) fn left(group: &Cgroup) -> Vec<std::path::PathBuf> {
    let dirs = group.paths().places.iter().map(cgroup::Place::dir);
    dirs.filter(|d| d.exists()).collect()
}

/// Whether limits of a controller can be set here.
pub(crate) fn has(group: &Cgroup, controller: &str) -> bool {
    let by = group.paths().by_controller();
    if by.contains_key(controller) {
        return true;
    }
    let Some(dir) = by.get("").filter(|_| by.len() == 1) else { return false };
    let on = std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    on.split_whitespace().any(|c| c == controller)
}

pub(crate) fn end(group: &Cgroup, mut child: Child) {
    group.kill(SOON).unwrap();
    child.wait().unwrap();
    group.destroy(SOON).unwrap();
    assert!(left(group).is_empty(), "left: {:?}", left(group));
}
