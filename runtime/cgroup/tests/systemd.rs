//! Groups made by systemd, where it runs.
#![allow(clippy::unwrap_used, reason = "a test's own helpers fail the test")]

mod support;

use cgroup::systemd::{HARMLESS, properties};
use cgroup::{Cgroup, Created, Driver, Error, Kind, Request};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use support::{SOON, end, left, resources, until, value};

/// Skips a test where systemd does not run the machine (sd_booted(3)).
macro_rules! need_systemd {
    () => {
        if !std::path::Path::new("/run/systemd/system").exists() {
            return lab::skip("systemd: does not run this machine");
        }
    };
}

/// A shell that waits for a line before it does anything.
fn waiting(script: &str) -> Child {
    Command::new("/bin/sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn go(child: &mut Child) {
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
}

/// A slice of the test's own, with one more in it.
fn slice(name: &str) -> String {
    format!("podloomtest{}{name}", std::process::id())
}

fn unit(name: &str) -> String {
    format!("{}-in.slice:podloom:{name}", slice(name))
}

/// Stops the slices, which systemd made along.
fn clean(name: &str) {
    let slice = format!("{}.slice", slice(name));
    assert!(Command::new("systemctl").args(["stop", &slice]).status().unwrap().success());
}

fn create(name: &str, child: &Child, limits: &str) -> Result<Created, Error> {
    let limits = resources(limits);
    let made = Cgroup::create(&Request {
        path: Some(&unit(name)),
        driver: Driver::Systemd,
        pid: Some(child.id()),
        resources: Some(&limits),
        ..Request::new(name)
    })?;
    made.apply(&limits)?;
    Ok(made)
}

fn show(group: &Cgroup, what: &str) -> String {
    let name = group.paths().unit.clone().unwrap();
    let output = Command::new("systemctl").args(["show", "--value", "-p", what, &name]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn a_scope_has_its_limits_and_keeps_them() {
    need_systemd!();
    let mut child = waiting("exec sleep 100");
    let limits = r#"{"memory": {"limit": 67108864, "swap": 67108864}, "pids": {"limit": 20},
        "cpu": {"shares": 2048, "quota": 50001, "period": 100000, "cpus": "0"}}"#;
    let group = create("scope", &child, limits).unwrap();
    go(&mut child);
    let place = group.paths().places[0].path.to_string();
    let slice = slice("scope");
    assert_eq!(place, format!("/{slice}.slice/{slice}-in.slice/podloom-scope.scope"));
    assert_eq!(group.pids().unwrap(), [child.id()]);
    let memory = || value(&group, ("memory", "memory.limit_in_bytes"), "memory.max").unwrap();
    assert_eq!(memory(), "67108864");
    assert_eq!(show(&group, "MemoryMax"), "67108864");
    assert_eq!(show(&group, "TasksMax"), "20");
    assert_eq!(show(&group, "AllowedCPUs"), "0");
    assert_eq!(show(&group, "CPUQuotaPerSecUSec"), "510ms");
    let cpu = value(&group, ("cpu", "cpu.cfs_quota_us"), "cpu.max").unwrap();
    assert!(cpu.starts_with("50001"), "the exact value holds: {cpu}");
    group.update(&resources(r#"{"memory": {"limit": 33554432}}"#)).unwrap();
    assert_eq!(memory(), "33554432");
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    assert_eq!(memory(), "33554432", "after a reload");
    assert_eq!(group.pids().unwrap(), [child.id()]);
    end(&group, child);
    assert!(["", "inactive"].contains(&show(&group, "ActiveState").as_str()));
    group.destroy(SOON).unwrap();
    clean("scope");
}

#[test]
fn devices_of_a_scope() {
    need_systemd!();
    let script = "exec 3</dev/null && ! (exec 3</dev/zero) && exec 3</dev/urandom";
    let mut child = waiting(script);
    let limits = r#"{"devices": [{"allow": false},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 9, "access": "r"}]}"#;
    let group = create("devices", &child, limits).unwrap();
    assert_eq!(show(&group, "DevicePolicy"), "strict");
    go(&mut child);
    assert!(child.wait().unwrap().success());
    group.destroy(SOON).unwrap();
    assert!(left(&group).is_empty());
    clean("devices");
}

#[test]
fn dropped_the_unit_is_stopped() {
    need_systemd!();
    let mut child = waiting("exec sleep 100");
    let made = create("undo", &child, "{}").unwrap();
    let group = Cgroup::load(made.paths().clone());
    assert_eq!(show(&group, "ActiveState"), "active");
    drop(made);
    child.wait().unwrap();
    assert!(left(&group).is_empty());
    assert!(["", "inactive"].contains(&show(&group, "ActiveState").as_str()));
    clean("undo");
}

#[test]
fn a_name_is_used_once_at_a_time_and_again_after_a_failure() {
    need_systemd!();
    let (child, mut other) = (waiting("exec sleep 100"), waiting("exit"));
    let group = create("twice", &child, r#"{"memory": {"limit": 67108864}}"#).unwrap();
    let error = create("twice", &other, "{}").unwrap_err();
    assert_eq!(error.kind(), Kind::InUse, "{error}");
    assert_eq!(group.pids().unwrap(), [child.id()], "the first is not touched");
    group.kill(SOON).unwrap();
    until("the scope has ended", || show(&group, "ActiveState") != "active");
    let again = create("twice", &other, "{}").unwrap();
    go(&mut other);
    other.wait().unwrap();
    end(&again, child);
    clean("twice");
}

#[test]
fn properties_by_annotation() {
    need_systemd!();
    let child = waiting("exec sleep 100");
    let key = "org.systemd.property.TimeoutStopSec";
    let asked = BTreeMap::from([(key.to_owned(), "int32 7".to_owned())]);
    let further = properties(&asked, HARMLESS).unwrap();
    let group = Cgroup::create(&Request {
        path: Some(&unit("noted")),
        driver: Driver::Systemd,
        pid: Some(child.id()),
        properties: &further,
        ..Request::new("noted")
    });
    let group = group.unwrap();
    assert_eq!(show(&group, "TimeoutStopUSec"), "7s");
    end(&group, child);
    clean("noted");
}

#[test]
fn what_systemd_refuses_is_told() {
    need_systemd!();
    let mut child = waiting("exit");
    let bad = [cgroup::systemd::Property {
        name: "NoSuchThing".into(),
        value: cgroup::systemd::Value::Bool(true),
    }];
    let path = unit("refused");
    let mut request = Request {
        path: Some(&path),
        driver: Driver::Systemd,
        pid: Some(child.id()),
        properties: &bad,
        ..Request::new("refused")
    };
    let error = Cgroup::create(&request).unwrap_err();
    assert_eq!(error.kind(), Kind::Systemd, "{error}");
    assert!(error.to_string().contains("NoSuchThing"), "{error}");
    (request.properties, request.pid) = (&[], None);
    assert_eq!(Cgroup::create(&request).unwrap_err().kind(), Kind::Invalid);
    request.path = Some("/not/a/slice");
    assert_eq!(Cgroup::create(&request).unwrap_err().kind(), Kind::Invalid);
    go(&mut child);
    child.wait().unwrap();
    clean("refused");
}

#[test]
fn a_slice_for_a_pod() {
    need_systemd!();
    let path = format!(":x:{}-in.slice", slice("pod"));
    let request = Request { path: Some(&path), driver: Driver::Systemd, ..Request::new("pod") };
    let group = Cgroup::create(&request).unwrap();
    assert!(group.exists().unwrap());
    assert!(
        group.paths().places[0].path.to_string().ends_with(&format!("{}-in.slice", slice("pod")))
    );
    group.destroy(SOON).unwrap();
    assert!(left(&group).is_empty());
    clean("pod");
}

#[test]
fn without_systemd_the_error_names_its_socket() {
    if std::path::Path::new("/run/systemd/system").exists() {
        return lab::skip("no systemd: it runs this machine");
    }
    let path = unit("none");
    let request = Request {
        path: Some(&path),
        driver: Driver::Systemd,
        pid: Some(std::process::id()),
        ..Request::new("none")
    };
    let error = Cgroup::create(&request).unwrap_err();
    assert!(error.to_string().contains("/run/systemd/private"), "{error}");
}

/// Run by a user whose systemd runs, inside of one of its units.
#[test]
fn a_scope_of_the_users_systemd() {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(std::path::PathBuf::from);
    let socket = runtime.map(|dir| dir.join("systemd/private")).filter(|s| s.exists());
    if rustix::process::geteuid().is_root() || socket.is_none() {
        return lab::skip("user's systemd: we are root, or it does not run");
    }
    let mut child = waiting("exec sleep 100");
    let limits = resources(r#"{"pids": {"limit": 20}, "devices": [{"allow": false}]}"#);
    let path = unit("user");
    let made = Cgroup::create(&Request {
        path: Some(&path),
        driver: Driver::Systemd,
        rootless: true,
        pid: Some(child.id()),
        resources: Some(&limits),
        ..Request::new("user")
    });
    let group = made.unwrap();
    group.apply(&limits).unwrap();
    go(&mut child);
    assert!(group.paths().user && !group.paths().is_none());
    assert_eq!(group.pids().unwrap(), [child.id()]);
    assert_eq!(value(&group, ("pids", "pids.max"), "pids.max").as_deref(), Some("20"));
    group.update(&resources(r#"{"pids": {"limit": 30}}"#)).unwrap();
    assert_eq!(value(&group, ("pids", "pids.max"), "pids.max").as_deref(), Some("30"));
    end(&group, child);
}
