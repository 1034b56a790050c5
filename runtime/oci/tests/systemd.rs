//! Containers whose groups systemd makes (`--systemd-cgroup`), where it runs the machine.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod support;

use serde_json::json;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;
use support::{PATIENCE, Room, errors, text, wait};

/// A room whose container is a scope in a slice of the test's own; the slice goes with it.
struct Scoped {
    room: Room,
    slice: String,
}

impl Scoped {
    fn new(command: &str) -> Option<Scoped> {
        // sd_booted(3)
        if !std::path::Path::new("/run/systemd/system").exists() {
            lab::skip("systemd: does not run this machine");
            return None;
        }
        let mut room = Room::new(command)?;
        let slice = format!("podloomoci{}.slice", room.id.replace('-', ""));
        room.set("/linux/cgroupsPath", json!(format!("{slice}:podloom:{}", room.id)));
        Some(Scoped { room, slice })
    }

    fn ok(&self, args: &[&str]) -> String {
        let args: Vec<&str> =
            ["--systemd-cgroup"].into_iter().chain(args.iter().copied()).collect();
        self.room.ok(&args)
    }

    fn unit(&self) -> String {
        format!("podloom-{}.scope", self.room.id)
    }

    /// Its group below the tree's root.
    fn group(&self) -> String {
        format!("/{}/{}", self.slice, self.unit())
    }

    fn show(&self, property: &str) -> String {
        let mut show = Command::new("systemctl");
        show.args(["show", "--value", "-p", property, &self.unit()]);
        text(&show.output().expect("systemctl"))
    }

    /// Directories of its group, in any tree.
    fn directories(&self) -> Vec<PathBuf> {
        let root = PathBuf::from("/sys/fs/cgroup");
        let trees = std::fs::read_dir(&root).expect("cgroups").filter_map(Result::ok);
        let trees = trees.map(|tree| tree.path()).chain([root.clone()]);
        trees.map(|tree| tree.join(&self.group()[1..])).filter(|dir| dir.exists()).collect()
    }

    fn assert_gone(&self) {
        self.room.assert_gone();
        assert_eq!(self.show("LoadState"), "not-found", "{:?}", self.unit());
        assert_eq!(self.directories(), Vec::<PathBuf>::new());
    }
}

impl Drop for Scoped {
    fn drop(&mut self) {
        let _ =
            Command::new("systemctl").args(["stop", &self.unit()]).stderr(Stdio::null()).status();
        let _ = Command::new("systemctl").args(["stop", &self.slice]).status();
    }
}

#[test]
fn a_scope_lives_as_long_as_its_container() {
    let Some(mut it) = Scoped::new("sleep 100") else { return };
    let denied = json!([{"allow": false, "access": "rwm"}]);
    let limits = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}, "devices": denied});
    it.room.set("/linux/resources", limits);
    it.ok(&["create"]);
    assert_eq!(it.show("ActiveState"), "active");
    assert_eq!(it.show("ControlGroup"), it.group());
    assert_eq!(it.show("MemoryMax"), (64 << 20).to_string());
    let group_of = |pid: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its groups");
        text.lines().any(|line| line.ends_with(&format!(":{}", it.group())))
    };
    assert!(group_of(&it.room.pid().to_string()));
    it.ok(&["start"]);
    // What every container has, systemd does not deny.
    let every = ["exec", &it.room.id, "sh", "-c", "echo x >/dev/null && : </dev/zero"];
    text(&it.room.run(&every));
    let file = it.room.dir.join("pid");
    let added =
        ["exec", "--detach", "--pid-file", &file.to_string_lossy(), &it.room.id, "sleep", "50"];
    text(&it.room.run(&added));
    assert!(group_of(&std::fs::read_to_string(&file).expect("a number")));
    let updated =
        ["--systemd-cgroup", "update", "--memory", "32M", "--pids-limit", "30", &it.room.id];
    text(&it.room.run(&updated));
    assert_eq!((it.show("MemoryMax"), it.show("TasksMax")), ((32 << 20).to_string(), "30".into()));
    it.ok(&["pause"]);
    assert_eq!(it.room.status(), "paused");
    it.ok(&["resume"]);
    it.ok(&["delete", "--force"]);
    it.assert_gone();
}

/// Callers such as podman tell the driver to `create` alone.
#[test]
fn the_record_tells_who_made_the_group() {
    let Some(it) = Scoped::new("sleep 100") else { return };
    it.ok(&["create"]);
    it.room.ok(&["start"]);
    it.room.run(&["kill", &it.room.id, "KILL"]);
    it.room.until_status("stopped");
    it.room.ok(&["delete"]);
    it.assert_gone();
    text(&it.room.run(&["--systemd-cgroup", "run", "--detach", &it.room.id]));
    it.room.ok(&["delete", "--force"]);
    it.assert_gone();
}

#[test]
fn a_failed_creation_leaves_no_scope() {
    let Some(mut it) = Scoped::new("sleep 100") else { return };
    it.room.set("/hooks", json!({"createRuntime": [{"path": "/bin/false"}]}));
    let failed = it.room.run(&["--systemd-cgroup", "create", &it.room.id]);
    assert!(errors(&failed).contains("createRuntime"), "{failed:?}");
    it.assert_gone();
}

/// The name of a scope is systemd's to give once; what has it already is not touched.
#[test]
fn the_scope_of_another_container_is_left_alone() {
    let Some(it) = Scoped::new("sleep 100") else { return };
    let Some(mut other) = Scoped::new("sleep 100") else { return };
    other.room.config["linux"]["cgroupsPath"] = it.room.config["linux"]["cgroupsPath"].clone();
    it.ok(&["create"]);
    let refused = other.room.run(&["--systemd-cgroup", "create", &other.room.id]);
    assert!(errors(&refused).contains(&it.unit()), "{refused:?}");
    text(&other.room.run(&["--systemd-cgroup", "delete", "--force", &other.room.id]));
    assert_eq!((it.show("ActiveState"), it.room.status()), ("active".into(), "created".into()));
    it.ok(&["delete"]);
    it.assert_gone();
}

/// A creator that is killed at any time leaves nothing that `delete --force` and systemd do not
/// remove: a scope that nobody has recorded ends with its process.
#[test]
fn create_killed_at_any_time_leaves_no_scope() {
    const STEPS: u32 = 10;
    let Some(it) = Scoped::new("sleep 100") else { return };
    let begun = Instant::now();
    it.ok(&["create"]);
    let whole = begun.elapsed();
    it.ok(&["delete"]);
    for step in 0..STEPS {
        let mut command = it.room.command(&["--systemd-cgroup", "create", &it.room.id]);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start it");
        std::thread::sleep(whole * step / STEPS);
        let _ = child.kill();
        wait(&mut child, PATIENCE).expect("it ends");
        it.ok(&["delete", "--force"]);
        let gone = || it.show("LoadState") == "not-found" && it.directories().is_empty();
        lab::until(&format!("step {step}: its scope is gone"), PATIENCE, gone);
        it.assert_gone();
    }
}
