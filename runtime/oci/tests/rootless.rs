//! Containers of an ordinary user, who maps nobody but itself and has no control groups.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod support;

use serde_json::json;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{Room, errors, text};

/// A user that no system has.
const USER: u32 = 54_321;

/// A room that belongs to the user.
struct Own(Room);

impl Own {
    fn new(command: &str) -> Option<Own> {
        let mut room = Room::new(command)?;
        let mut probe = Command::new("unshare");
        probe.args(["--user", "true"]).uid(USER).gid(USER).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            lab::skip("rootless: users may make no user namespaces here");
            return None;
        }
        // The way to where it was built may be closed to others.
        std::fs::copy(env!("CARGO_BIN_EXE_podloom-oci"), room.dir.join("podloom-oci"))
            .expect("the program");
        room.push("/linux/namespaces", json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
        room.set("/linux/uidMappings", map.clone());
        room.set("/linux/gidMappings", map);
        room.config["linux"].as_object_mut().expect("an object").remove("cgroupsPath");
        drop(room.command(&[]));
        give(&room.dir);
        Some(Own(room))
    }

    fn set(&mut self, pointer: &str, value: serde_json::Value) {
        self.0.set(pointer, value);
        drop(self.0.command(&[]));
    }

    /// Runs the program as the user.
    fn run(&self, args: &[&str]) -> Output {
        let Room { dir, .. } = &self.0;
        let (out, err) = (dir.join("out"), dir.join("err"));
        let file = |path: &Path| std::fs::File::create(path).expect("a file");
        let mut command = Command::new(dir.join("podloom-oci"));
        command.arg("--root").arg(dir.join("state")).args(args).current_dir(dir.join("bundle"));
        command.uid(USER).gid(USER).stdin(Stdio::null()).env_remove("XDG_RUNTIME_DIR");
        let status = command.stdout(file(&out)).stderr(file(&err)).status().expect("run it");
        let read = |path: &Path| std::fs::read(path).expect("output");
        Output { status, stdout: read(&out), stderr: read(&err) }
    }

    fn ok(&self, args: &[&str]) -> String {
        let args: Vec<&str> = args.iter().copied().chain([self.0.id.as_str()]).collect();
        text(&self.run(&args))
    }
}

fn give(path: &Path) {
    std::os::unix::fs::lchown(path, Some(USER), Some(USER)).expect("chown");
    if path.is_dir() && !path.is_symlink() {
        let entries = std::fs::read_dir(path).expect("a directory");
        entries.for_each(|entry| give(&entry.expect("an entry").path()));
    }
}

#[test]
fn it_is_root_inside_and_the_user_outside() {
    let Some(own) = Own::new("id -u; cat /proc/self/uid_map; touch /tmp/made; exit 7") else {
        return;
    };
    let done = own.run(&["run", &own.0.id]);
    assert_eq!(done.status.code(), Some(7), "{done:?}");
    let words = String::from_utf8_lossy(&done.stdout);
    let words: Vec<&str> = words.split_whitespace().collect();
    assert_eq!(words, ["0", "0", &USER.to_string(), "1"]);
    let made = std::fs::metadata(own.0.rootfs().join("tmp/made")).expect("a file");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), USER);
    own.0.assert_gone();
}

#[test]
fn its_life_needs_no_privilege() {
    let Some(own) = Own::new("sleep 100") else { return };
    own.ok(&["create"]);
    own.ok(&["start"]);
    let name = text(&own.run(&["exec", &own.0.id, "sh", "-c", "hostname; id -u"]));
    assert_eq!(name, "inside\n0");
    let early = own.run(&["delete", &own.0.id]);
    assert!(errors(&early).contains("not stopped"), "{early:?}");
    text(&own.run(&["kill", &own.0.id, "KILL"]));
    let stopped = || own.ok(&["state"]).contains("\"stopped\"");
    lab::until("it is stopped", support::PATIENCE, stopped);
    own.ok(&["delete"]);
    own.0.assert_gone();
    own.ok(&["run", "--detach"]);
    own.ok(&["delete", "--force"]);
    own.0.assert_gone();
}

#[test]
fn limits_that_nobody_would_keep_are_refused() {
    let Some(mut own) = Own::new("true") else { return };
    own.set("/linux/resources", json!({"pids": {"limit": 10}}));
    let refused = own.run(&["create", &own.0.id]);
    assert!(errors(&refused).contains("pids"), "{refused:?}");
    own.0.assert_gone();
}

/// The user's rights are the runtime's: what is root's stays out of reach.
#[test]
fn files_of_root_are_not_reached() {
    let Some(mut own) = Own::new("cat /secret/file /link") else { return };
    let secret = own.0.dir.join("secret");
    std::fs::create_dir(&secret).expect("a directory");
    std::fs::write(secret.join("file"), "secret").expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&secret, mode).expect("chmod");
    chown(&secret, Some(0), Some(0)).expect("chown");
    symlink(secret.join("file"), own.0.rootfs().join("link")).expect("a link");
    own.0.push("/mounts", json!({"destination": "/secret", "source": secret, "options": ["bind"]}));
    drop(own.0.command(&[]));
    let done = own.run(&["run", &own.0.id]);
    assert!(!done.status.success() && done.stdout.is_empty(), "{done:?}");
    own.0.assert_gone();
    own.set("/mounts", own.0.config["mounts"].as_array().expect("a list")[..3].into());
    let done = own.run(&["run", &own.0.id]);
    assert!(!String::from_utf8_lossy(&done.stdout).contains("secret"), "{done:?}");
    own.0.assert_gone();
}
