//! Limits on the real trees of this machine: set, read back, felt.

mod support;

use cgroup::Kind;
use support::{SOON, create, end, has, path, resources, run_in, until, value};

/// Skips a test when limits of a controller cannot be set here.
macro_rules! need {
    ($group:expr, $controller:literal) => {
        if !has(&$group, $controller) {
            return lab::skip(concat!("controller ", $controller, ": not on this machine"));
        }
    };
}

#[test]
fn processor_shares_and_quota() {
    let group = create("cpu");
    need!(group, "cpu");
    let json = r#"{"cpu": {"shares": 1024, "quota": 50000, "period": 100000}}"#;
    group.apply(&resources(json)).unwrap();
    let v2 = value(&group, ("cpu", "cpu.shares"), "cpu.weight").unwrap();
    assert!(["1024", "100"].contains(&v2.as_str()), "{v2}");
    let quota = |want: [&str; 2]| {
        let got = value(&group, ("cpu", "cpu.cfs_quota_us"), "cpu.max").unwrap();
        assert!(want.contains(&got.as_str()), "{got}: want {want:?}");
    };
    quota(["50000", "50000 100000"]);
    group.update(&resources(r#"{"cpu": {"period": 200000}}"#)).unwrap();
    quota(["50000", "50000 200000"]);
    group.update(&resources(r#"{"cpu": {"quota": 300000}}"#)).unwrap();
    quota(["300000", "300000 200000"]);
    group.update(&resources(r#"{"cpu": {"quota": -1}}"#)).unwrap();
    quota(["-1", "max 200000"]);
}

#[test]
fn burst_before_and_after_its_quota() {
    let group = create("burst");
    need!(group, "cpu");
    let burst = || value(&group, ("cpu", "cpu.cfs_burst_us"), "cpu.max.burst");
    if burst().is_none() {
        return lab::skip("cpu burst: this kernel has none");
    }
    let json = r#"{"cpu": {"quota": 50000, "period": 100000, "burst": 40000}}"#;
    group.apply(&resources(json)).unwrap();
    assert_eq!(burst().as_deref(), Some("40000"));
    group.update(&resources(r#"{"cpu": {"quota": 20000, "burst": 10000}}"#)).unwrap();
    assert_eq!(burst().as_deref(), Some("10000"));
    let error = group.update(&resources(r#"{"cpu": {"burst": 90000}}"#)).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
}

#[test]
fn memory_grows_and_shrinks_with_swap() {
    let group = create("memory");
    need!(group, "memory");
    let swap = value(&group, ("memory", "memory.memsw.limit_in_bytes"), "memory.swap.max");
    let limit = || value(&group, ("memory", "memory.limit_in_bytes"), "memory.max").unwrap();
    for (limits, sum) in [(64, 64), (128, 192), (32, 48), (256, 300)] {
        let (bytes, sum) = (limits << 20, sum << 20);
        let with = swap.as_ref().map_or(String::new(), |_| format!(", \"swap\": {sum}"));
        group.update(&resources(&format!("{{\"memory\": {{\"limit\": {bytes}{with}}}}}"))).unwrap();
        assert_eq!(limit(), bytes.to_string());
        if swap.is_some() {
            let both = value(&group, ("memory", "memory.memsw.limit_in_bytes"), "memory.swap.max");
            let both: i64 = both.unwrap().parse().unwrap();
            assert!(both == sum || both == sum - bytes, "{both}");
        }
    }
    group.update(&resources(r#"{"memory": {"limit": -1}}"#)).unwrap();
    assert!(["max", "9223372036854771712"].contains(&limit().as_str()), "{}", limit());
}

/// A script that holds so many bytes, soon on an emulated processor too: tail(1) keeps what it has to
/// show at the end.
fn holding(bytes: &str) -> String {
    format!("{{ head -c {bytes} /dev/zero; sleep 100; }} | tail -c {bytes}")
}

#[test]
fn a_limit_below_the_use_is_refused_when_asked() {
    let group = create("check");
    need!(group, "memory");
    let child = run_in(&group, &holding("20m"));
    until("it uses memory", || {
        let used = value(&group, ("memory", "memory.usage_in_bytes"), "memory.current").unwrap();
        used.parse::<u64>().unwrap() > 16 << 20
    });
    let json = r#"{"memory": {"limit": 1048576, "checkBeforeUpdate": true}}"#;
    let error = group.update(&resources(json)).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
    end(&group, child);
}

#[test]
fn too_much_memory_is_told() {
    let group = create("oom");
    need!(group, "memory");
    group.apply(&resources(r#"{"memory": {"limit": 16777216}}"#)).unwrap();
    let watch = group.watch_oom().unwrap();
    assert_eq!(watch.take().unwrap(), Some(false));
    let child = run_in(&group, &holding("200m"));
    let time = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    until("the kernel kills", || {
        let mut fds = [rustix::event::PollFd::new(&watch, watch.interest())];
        assert_eq!(rustix::event::poll(&mut fds, Some(&time)).unwrap(), 1, "nothing was told");
        watch.take().unwrap().unwrap()
    });
    until("it is counted", || group.oom_kills().unwrap().unwrap() > 0);
    end(&group, child);
    assert_eq!(watch.take().unwrap(), None);
    assert_eq!(group.oom_kills().unwrap(), None);
}

#[test]
fn processes_are_limited() {
    let group = create("pids");
    need!(group, "pids");
    group.apply(&resources(r#"{"pids": {"limit": 4}}"#)).unwrap();
    let script = "for i in 1 2 3 4 5 6; do sleep 100 & done; wait";
    let mut child = run_in(&group, script);
    until("the shell gave up", || child.try_wait().unwrap().is_some());
    assert!(!child.wait().unwrap().success());
    assert!(group.pids().unwrap().len() <= 4);
    group.update(&resources(r#"{"pids": {"limit": -1}}"#)).unwrap();
    assert_eq!(value(&group, ("pids", "pids.max"), "pids.max").unwrap(), "max");
    end(&group, child);
}

#[test]
fn processors_are_chosen_and_inherited() {
    let group = create("cpuset");
    need!(group, "cpuset");
    let cpus = || value(&group, ("cpuset", "cpuset.effective_cpus"), "cpuset.cpus.effective");
    assert!(!cpus().unwrap().is_empty());
    group.apply(&resources(r#"{"cpu": {"cpus": "0", "mems": "0"}}"#)).unwrap();
    assert_eq!(cpus().unwrap(), "0");
    let error = group.apply(&resources(r#"{"cpu": {"cpus": "4000"}}"#)).unwrap_err();
    assert!(error.subject().ends_with("cpuset.cpus"), "{error}");
}

#[test]
fn a_parent_that_another_is_making_is_waited_for() {
    let near = create("near");
    let by = near.paths().by_controller();
    let Some(tree) = by.get("cpuset").and_then(|dir| dir.parent()) else {
        return lab::skip("cgroup v1 cpuset: not on this machine");
    };
    let parent = tree.join(path("making").trim_start_matches('/'));
    std::fs::create_dir(&parent).unwrap();
    let making = std::thread::spawn({
        let (tree, parent) = (tree.to_owned(), parent.clone());
        move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = std::fs::read_to_string(tree.join(file)).unwrap();
                std::fs::write(parent.join(file), value.trim()).unwrap();
            }
        }
    });
    let group = create("making/child");
    making.join().unwrap();
    let cpus = value(&group, ("cpuset", "cpuset.cpus"), "cpuset.cpus.effective");
    assert!(!cpus.unwrap().is_empty());
    end(&group, run_in(&group, "sleep 100"));
    std::fs::remove_dir(&parent).unwrap();
}

#[test]
fn what_this_machine_lacks_is_told() {
    let group = create("lacks");
    let json = r#"{"rdma": {"mlx5_1": {"hcaHandles": 3}}}"#;
    let error = group.apply(&resources(json)).unwrap_err();
    if has(&group, "rdma") {
        assert_eq!(error.kind(), Kind::Invalid, "no such device: {error}");
    } else {
        assert_eq!(error.kind(), Kind::ControllerMissing, "{error}");
    }
    let mut unified = resources("{}");
    unified.unified.insert("nosuch.file".into(), "1".into());
    let kind = group.apply(&unified).unwrap_err().kind();
    assert!([Kind::ControllerMissing, Kind::Unsupported].contains(&kind), "{kind:?}");
}

#[test]
fn files_of_v2_by_name() {
    let group = create("unified");
    if group.paths().places.len() > 1 || !has(&group, "memory") {
        return lab::skip("cgroup v2 alone: not on this machine");
    }
    let json = r#"{"unified": {"memory.high": "33554432", "memory.oom.group": "1",
                   "cgroup.max.descendants": "7"}}"#;
    group.apply(&resources(json)).unwrap();
    for (file, want) in
        [("memory.high", "33554432"), ("memory.oom.group", "1"), ("cgroup.max.descendants", "7")]
    {
        assert_eq!(value(&group, ("none", ""), file).as_deref(), Some(want));
    }
}

#[test]
fn devices_are_allowed_by_the_last_rule() {
    let group = create("devices");
    let rules = |extra: &str| {
        resources(&format!(
            r#"{{"devices": [{{"allow": false, "access": "rwm"}},
            {{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}},
            {{"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rw"}}{extra}]}}"#
        ))
    };
    let zero = r#",{"allow": false, "type": "c", "major": 1, "minor": 5, "access": "r"}"#;
    match group.apply(&rules(zero)) {
        Err(e) if e.kind() == Kind::Unsupported => {
            group.destroy(SOON).unwrap();
            return lab::skip(&format!("device rules: {e}"));
        }
        other => other.unwrap(),
    }
    let can = |script: &str| run_in(&group, script).wait().unwrap().success();
    assert!(can("exec 3</dev/null 4>/dev/null"));
    assert!(!can("exec 3</dev/zero"), "reading is denied");
    assert!(can("exec 3>/dev/zero"), "writing is allowed");
    assert!(!can("exec 3</dev/urandom"), "no rule allows it");
    group.apply(&rules("")).unwrap();
    assert!(can("exec 3</dev/zero"), "after an update");
    assert!(!can("exec 3</dev/urandom"));
    group.apply(&resources(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#)).unwrap();
    assert!(can("exec 3</dev/urandom"));
    group.apply(&rules(zero)).unwrap();
    assert!(!can("exec 3</dev/zero"), "one program, not the sum of all");
    group.destroy(SOON).unwrap();
}

#[test]
fn without_rights_there_is_no_group_but_no_limit_either() {
    if std::env::var_os("PODLOOM_CGROUP_NOBODY").is_none() {
        use std::os::unix::process::CommandExt;
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "without_rights_there_is_no_group_but_no_limit_either"])
            .env("PODLOOM_CGROUP_NOBODY", "1")
            .uid(65534)
            .gid(65534)
            .output();
        let output = match output {
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                return lab::skip("test program: another user may not run it here");
            }
            other => other.unwrap(),
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let path = support::path("nobody");
    let mut request = cgroup::Request { path: Some(&path), ..cgroup::Request::new("nobody") };
    let error = cgroup::Cgroup::create(&request).unwrap_err();
    assert_eq!(error.kind(), Kind::NoPermission, "{error}");
    request.rootless = true;
    let group = cgroup::Cgroup::create(&request).unwrap().keep();
    assert!(group.paths().is_none());
    group.apply(&resources("{}")).unwrap();
    group.apply(&resources(r#"{"devices": [{"allow": false}]}"#)).unwrap();
    let error = group.apply(&resources(r#"{"pids": {"limit": 4}}"#)).unwrap_err();
    assert_eq!(error.kind(), Kind::NoPermission);
    assert!(error.to_string().starts_with("pids.max: "), "{error}");
    assert!(group.joiner().unwrap().clone_into().is_none());
    group.joiner().unwrap().join(false).unwrap();
    group.kill(SOON).unwrap();
    group.destroy(SOON).unwrap();
}
