//! What only the v2 tree has: controllers passed down, owners, threads, bounds on groups.

mod support;

use cgroup::{Cgroup, Kind, Request};
use std::fs;
use std::os::unix::fs::MetadataExt;
use support::{SOON, create, end, left, path, resources, run_in, value};

/// Skips a test on machines whose controllers are not those of v2.
macro_rules! need_v2_alone {
    ($group:expr) => {
        if $group.paths().places.len() > 1 {
            return lab::skip("cgroup v2 alone: not on this machine");
        }
    };
}

#[test]
fn controllers_are_passed_down_to_a_deep_group() {
    let group = create("pass/down/to");
    need_v2_alone!(group);
    group.apply(&resources(r#"{"pids": {"limit": 9}, "memory": {"limit": 9000000}}"#)).unwrap();
    assert_eq!(value(&group, ("none", ""), "pids.max").as_deref(), Some("9"));
    assert!(group.paths().places[0].made == 3);
}

#[test]
fn a_parent_with_processes_is_named() {
    let parent = create("inner");
    need_v2_alone!(parent);
    let child = run_in(&parent, "exec sleep 100");
    let below = path("inner/below");
    let request = Request { path: Some(&below), ..Request::new("x") };
    let group = Cgroup::create(&request).unwrap();
    let error = group.apply(&resources(r#"{"memory": {"limit": 9000000}}"#)).unwrap_err();
    assert_eq!(error.kind(), Kind::ControllerMissing, "{error}");
    drop(group);
    end(&parent, child);
}

#[test]
fn a_group_is_given_to_its_owner() {
    let path = path("owner");
    let request = Request { path: Some(&path), owner: Some(4321), ..Request::new("x") };
    let group = Cgroup::create(&request).unwrap();
    let Some(dir) = group.paths().by_controller().remove("") else {
        return lab::skip("cgroup v2: not on this machine");
    };
    let owner = |file: &str| fs::metadata(dir.join(file)).unwrap().uid();
    assert_eq!(owner(""), 4321);
    for file in ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
        assert_eq!(owner(file), 4321, "{file}");
    }
    assert_eq!(owner("cgroup.kill"), 0);
    assert_eq!(owner("cgroup.freeze"), 0);
}

#[test]
fn a_group_among_threads_takes_processes_and_ends_them() {
    let parent = create("threads");
    need_v2_alone!(parent);
    let dir = parent.paths().places[0].dir();
    fs::create_dir(dir.join("one")).unwrap();
    fs::write(dir.join("one/cgroup.type"), "threaded").unwrap();
    let path = path("threads/two");
    let request = Request { path: Some(&path), ..Request::new("x") };
    let group = Cgroup::create(&request).unwrap();
    let kind = fs::read_to_string(group.paths().places[0].dir().join("cgroup.type")).unwrap();
    assert_eq!(kind.trim(), "threaded");
    let mut child = run_in(&parent, "exec sleep 100");
    group.add(child.id()).unwrap();
    assert_eq!(group.pids().unwrap(), [child.id()]);
    group.kill(SOON).unwrap();
    child.wait().unwrap();
    group.destroy(SOON).unwrap();
    parent.destroy(SOON).unwrap();
    assert!(left(&parent).is_empty());
}

#[test]
fn a_bound_on_groups_is_told_and_leaves_nothing() {
    let parent = create("bound");
    let Some(dir) = parent.paths().by_controller().remove("") else {
        return lab::skip("cgroup v2: not on this machine");
    };
    fs::write(dir.join("cgroup.max.descendants"), "1").unwrap();
    let below = path("bound/a/b");
    let request = Request { path: Some(&below), ..Request::new("x") };
    let error = Cgroup::create(&request).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EAGAIN));
    assert!(error.to_string().contains("cgroup.max.descendants"), "{error}");
    for place in &parent.paths().places {
        assert!(!place.dir().join("a").exists(), "{place:?}");
    }
}
