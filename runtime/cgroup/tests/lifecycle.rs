//! A group's life on the real trees of this machine: made, entered, stopped, ended, removed.
#![allow(clippy::unwrap_used, reason = "a test's own helpers fail the test")]

mod support;

use cgroup::{Cgroup, Kind, Paths, Request};
use std::fs;
use std::time::{Duration, Instant};
use support::{SOON, create, end, left, path, run_in, until};

#[test]
fn made_recorded_and_removed() {
    let group = create("life");
    assert!(group.exists().unwrap() && !group.paths().is_none());
    let record = serde_json::to_string(group.paths()).unwrap();
    let again = Cgroup::load(serde_json::from_str::<Paths>(&record).unwrap());
    assert_eq!(again, *group);
    again.destroy(SOON).unwrap();
    assert!(left(&group).is_empty() && !group.exists().unwrap());
    group.destroy(SOON).unwrap();
    group.kill(SOON).unwrap();
    assert!(group.pids().unwrap().is_empty());
    assert!(!group.is_frozen().unwrap());
}

#[test]
fn dropped_it_is_undone_with_its_processes() {
    let made = create("undone");
    let group = Cgroup::load(made.paths().clone());
    let mut child = run_in(&made, "sleep 100 & sleep 100");
    drop(made);
    assert!(left(&group).is_empty());
    child.wait().unwrap();
}

#[test]
fn parents_are_removed_when_they_were_made_and_are_empty() {
    let (one, two) = (create("deep/er/one"), create("deep/er/two"));
    let parent = one.paths().places[0].dir().parent().unwrap().to_owned();
    one.destroy(SOON).unwrap();
    assert!(parent.exists(), "in use by the other");
    two.destroy(SOON).unwrap();
    // The second found the parents made, and the first could not remove them: as with directories
    // made by the manager above, they stay for whoever made them.
    for place in &one.paths().places {
        let er = place.dir().parent().unwrap().to_owned();
        let _ = fs::remove_dir(&er);
        let _ = fs::remove_dir(er.parent().unwrap());
    }
    let alone = create("alone/a/b");
    let top = alone.paths().places[0].dir().ancestors().nth(2).unwrap().to_owned();
    alone.destroy(SOON).unwrap();
    assert!(!top.exists());
}

#[test]
fn a_group_in_use_is_refused_and_left_alone() {
    let group = create("used");
    let child = run_in(&group, "exec sleep 100");
    let again = path("used");
    let request = Request { path: Some(&again), ..Request::new("x") };
    let error = Cgroup::create(&request).unwrap_err();
    assert_eq!(error.kind(), Kind::InUse, "{error}");
    assert!(error.to_string().contains("1 processes"), "{error}");
    assert_eq!(group.pids().unwrap(), [child.id()], "not killed by the undo");
    end(&group, child);
}

#[test]
fn an_empty_group_that_was_there_is_taken_and_not_undone() {
    let group = create("there");
    let again = path("there");
    let second = Cgroup::create(&Request { path: Some(&again), ..Request::new("x") }).unwrap();
    drop(second);
    assert_eq!(left(&group).len(), group.paths().places.len());
    group.destroy(SOON).unwrap();
}

#[test]
fn paths_that_escape_are_refused() {
    for bad in ["../x", "/a/../../x", "/", "/..", "a\nb"] {
        let request = Request { path: Some(bad), ..Request::new("x") };
        assert_eq!(Cgroup::create(&request).unwrap_err().kind(), Kind::Invalid, "{bad:?}");
    }
    for bad in ["..", "", "a/b"] {
        assert_eq!(Cgroup::create(&Request::new(bad)).unwrap_err().kind(), Kind::Invalid);
    }
    let record = r#"{"places":[{"mount":"/sys/fs/cgroup","path":"","version":"v2","made":0}]}"#;
    assert!(serde_json::from_str::<Paths>(record).is_err(), "the root of a tree");
    let record = record.replace(r#""path":"""#, r#""path":"a/../../../tmp""#);
    assert!(serde_json::from_str::<Paths>(&record).is_err());
}

#[test]
fn stopped_and_continued() {
    let group = create("frozen");
    let mut child = run_in(&group, "while :; do :; done");
    let busy = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(11).unwrap().to_owned()
    };
    assert!(!group.is_frozen().unwrap());
    group.freeze(SOON).unwrap();
    assert!(group.is_frozen().unwrap());
    let before = busy();
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(busy(), before, "runs while stopped");
    group.thaw(SOON).unwrap();
    assert!(!group.is_frozen().unwrap());
    until("it runs again", || busy() != before);
    group.freeze(SOON).unwrap();
    let again = path("frozen");
    group.kill(SOON).unwrap();
    child.wait().unwrap();
    let request = Request { path: Some(&again), ..Request::new("x") };
    let frozen = group.is_frozen().unwrap();
    assert_eq!(Cgroup::create(&request).map(drop).map_err(|e| e.kind()).err(), {
        frozen.then_some(Kind::InUse)
    });
    group.destroy(SOON).unwrap();
    assert!(left(&group).is_empty());
}

#[test]
fn a_group_stopped_by_another_program_is_killed() {
    let group = create("held");
    let child = run_in(&group, "exec sleep 100");
    match group.paths().by_controller().get("freezer") {
        Some(dir) => fs::write(dir.join("freezer.state"), "FROZEN").unwrap(),
        None => group.freeze(SOON).unwrap(),
    }
    assert!(group.is_frozen().unwrap());
    end(&group, child);
}

fn bomb(group: &Cgroup) -> std::process::Child {
    group.apply(&support::resources(r#"{"pids": {"limit": 200}}"#)).unwrap();
    // A shell that gives up when it cannot fork would end the bomb by itself; this one tries again.
    let script = "exec bash -c 'b() { b | b & }; b; while :; do sleep 0.01 & done' 2>/dev/null";
    let child = run_in(group, script);
    until("it grows", || group.pids().unwrap().len() > 50);
    child
}

#[test]
fn a_fork_bomb_is_ended() {
    let group = create("bomb");
    let child = bomb(&group);
    let start = Instant::now();
    end(&group, child);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// The same group, as it is known where there is no v2 tree.
fn v1_alone(group: &Cgroup) -> Option<Cgroup> {
    let mut paths = group.paths().clone();
    paths.places.retain(|p| p.version == cgroup::Version::V1);
    (!paths.is_none()).then(|| Cgroup::load(paths))
}

#[test]
fn a_fork_bomb_is_ended_without_the_v2_tree() {
    let group = create("bomb1");
    let Some(v1) = v1_alone(&group) else {
        return lab::skip("cgroup v1: not on this machine");
    };
    let child = bomb(&v1);
    let start = Instant::now();
    end(&v1, child);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn stopped_and_continued_without_the_v2_tree() {
    let group = create("frozen1");
    let Some(v1) = v1_alone(&group) else {
        return lab::skip("cgroup v1: not on this machine");
    };
    let child = run_in(&v1, "while :; do /bin/true; done");
    for _ in 0..20 {
        v1.freeze(SOON).unwrap();
        assert!(v1.is_frozen().unwrap());
        v1.thaw(SOON).unwrap();
        assert!(!v1.is_frozen().unwrap());
    }
    v1.freeze(SOON).unwrap();
    end(&v1, child);
}

#[test]
fn groups_that_the_container_made_are_removed() {
    let group = create("nested");
    for place in &group.paths().places {
        let dir = place.dir();
        for i in 0..20 {
            fs::create_dir_all(dir.join(format!("wide-{i}/in"))).unwrap();
        }
        let mut deep = dir;
        for _ in 0..12 {
            deep.push("d".repeat(200));
            fs::create_dir(&deep).unwrap();
        }
    }
    group.destroy(SOON).unwrap();
    assert!(left(&group).is_empty());
}

#[test]
fn processes_below_are_found_and_ended() {
    let group = create("below");
    let child = run_in(&group, "exec sleep 100");
    let mut inner = group.paths().clone();
    for place in &mut inner.places {
        fs::create_dir(place.dir().join("in")).unwrap();
        place.path = cgroup::RelPath::parse(&format!("{}/in", place.path)).unwrap();
        if place.controllers.iter().any(|c| c == "cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let up = fs::read(place.dir().parent().unwrap().join(file)).unwrap();
                fs::write(place.dir().join(file), up).unwrap();
            }
        }
    }
    Cgroup::load(inner).add(child.id()).unwrap();
    assert_eq!(group.pids().unwrap(), [child.id()]);
    assert_eq!(group.signal(0).map_err(|e| e.kind()), Err(Kind::Invalid));
    assert_eq!(group.signal(libc::SIGCONT).unwrap(), 1);
    end(&group, child);
}

#[test]
fn removal_waits_and_then_tells_who_is_left() {
    let group = create("busy");
    let child = run_in(&group, "exec sleep 100");
    let error = group.destroy(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout, "{error}");
    assert!(error.to_string().contains("1 processes"), "{error}");
    end(&group, child);
}

#[test]
fn a_maker_killed_at_any_moment_leaves_nothing_that_cannot_be_removed() {
    const NAME: &str = "a_maker_killed_at_any_moment_leaves_nothing_that_cannot_be_removed";
    if let Some(path) = std::env::var_os("PODLOOM_CGROUP_MAKER") {
        let path = path.into_string().unwrap();
        let request = Request { path: Some(&path), ..Request::new("x") };
        loop {
            let _ = Cgroup::create(&request).unwrap().keep().destroy(SOON);
        }
    }
    let path = path("maker");
    let path = format!("{path}/parent/leaf");
    let intended = Cgroup::intended(&Request { path: Some(&path), ..Request::new("x") }).unwrap();
    let group = Cgroup::load(intended);
    for round in 0..20 {
        let mut maker = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env("PODLOOM_CGROUP_MAKER", &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until("it works", || group.exists().unwrap());
        std::thread::sleep(Duration::from_micros(137 * round));
        maker.kill().unwrap();
        maker.wait().unwrap();
        group.destroy(SOON).unwrap();
        assert!(left(&group).is_empty());
    }
    // Whose the parents are is not in that record: they stay, empty.
    for place in &group.paths().places {
        let parent = place.dir().parent().unwrap().to_owned();
        let _ = fs::remove_dir(&parent);
        let _ = fs::remove_dir(parent.parent().unwrap());
    }
}

#[test]
fn relative_paths_lie_below_our_own_group() {
    let name = format!("podloom-test-{}-relative", std::process::id());
    let request = Request { path: Some(&name), ..Request::new("x") };
    let intended = Cgroup::intended(&request).unwrap();
    for place in &intended.places {
        assert!(place.path.as_str().ends_with(&name), "{place:?}");
    }
    match Cgroup::create(&request) {
        Err(e) if e.kind() == Kind::NoPermission => lab::skip("our own group: not ours to change"),
        made => {
            let group = made.unwrap().keep();
            let dirs =
                |paths: &Paths| paths.places.iter().map(cgroup::Place::dir).collect::<Vec<_>>();
            assert_eq!(dirs(group.paths()), dirs(&intended));
            group.destroy(SOON).unwrap();
            assert!(left(&group).is_empty());
        }
    }
}

#[test]
fn half_made_groups_are_removed() {
    // As if the program had been killed after each step of making it.
    let whole = create("half");
    for keep in 0..whole.paths().places.len() {
        let group = create("half");
        for place in &group.paths().places[keep..] {
            fs::remove_dir(place.dir()).unwrap();
        }
        assert!(!left(&group).is_empty() || keep == 0);
        group.kill(SOON).unwrap();
        group.destroy(SOON).unwrap();
        assert!(left(&group).is_empty());
    }
    whole.destroy(SOON).unwrap();
}
