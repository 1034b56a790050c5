//! AppArmor profiles, where the kernel enforces them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod support;

use serde_json::json;
use std::process::Command;
use support::{Room, errors, text};

const LABEL: &str = "cat /proc/self/attr/apparmor/current";

fn enabled() -> bool {
    let text = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    text.is_ok_and(|text| text.starts_with('Y'))
}

/// A profile in the kernel that keeps its processes from `/tmp/secret`; it goes with it.
struct Profile {
    name: String,
    file: std::path::PathBuf,
}

impl Profile {
    fn load(room: &Room) -> Option<Profile> {
        let parser = Command::new("apparmor_parser").arg("--version").output();
        if !enabled() || parser.is_err() {
            lab::skip("AppArmor: not enabled in this kernel, or no apparmor_parser");
            return None;
        }
        let (name, file) = (format!("podloom-test-{}", room.id), room.dir.join("profile"));
        let rules = "file, capability, network, signal, ptrace, umount, deny /tmp/secret rwklx,";
        let text = format!("profile {name} flags=(attach_disconnected) {{ {rules} }}\n");
        std::fs::write(&file, text).expect("a file");
        let profile = Profile { name, file };
        profile.parse("--replace");
        Some(profile)
    }

    fn parse(&self, verb: &str) {
        let mut parser = Command::new("apparmor_parser");
        parser.args(["--skip-cache", verb]).arg(&self.file);
        text(&parser.output().expect("apparmor_parser"));
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parse("--remove");
    }
}

#[test]
fn the_profile_binds_the_first_process_and_those_added() {
    let script = format!("{LABEL} >/tmp/label; cat /tmp/secret 2>&1 >/tmp/read; sleep 100");
    let Some(mut room) = Room::new(&script) else { return };
    let Some(profile) = Profile::load(&room) else { return };
    let tmp = room.rootfs().join("tmp");
    std::fs::write(tmp.join("secret"), "secret").expect("a file");
    room.set("/process/apparmorProfile", json!(profile.name));
    room.ok(&["create"]);
    room.ok(&["start"]);
    let enforced = format!("{} (enforce)", profile.name);
    let read = |name: &str| std::fs::read_to_string(tmp.join(name)).unwrap_or_default();
    lab::until("it has tried", support::PATIENCE, || tmp.join("read").exists());
    assert_eq!((read("label").trim(), read("read").as_str()), (enforced.as_str(), ""));
    assert_eq!(text(&room.exec(&[], LABEL)), enforced);
    let kept = room.exec(&[], "cat /tmp/secret");
    assert!(errors(&kept).contains("Permission denied"), "{kept:?}");
    assert_eq!(text(&room.exec(&["--apparmor", "unconfined"], LABEL)), "unconfined");
    assert_eq!(text(&room.exec(&["--apparmor", "unconfined"], "cat /tmp/secret")), "secret");
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}

#[test]
fn an_added_process_may_have_a_profile_of_its_own() {
    let Some(room) = Room::new("sleep 100") else { return };
    let Some(profile) = Profile::load(&room) else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    assert_eq!(text(&room.exec(&[], LABEL)), "unconfined");
    let label = text(&room.exec(&["--apparmor", &profile.name], LABEL));
    assert_eq!(label, format!("{} (enforce)", profile.name));
    room.ok(&["delete", "--force"]);
}

/// A process that would run without what confines it does not run.
#[test]
fn a_profile_that_cannot_be_applied_is_an_error() {
    let Some(mut room) = Room::new("sleep 100") else { return };
    let (name, why) =
        ("podloom-test-unknown", if enabled() { "not loaded" } else { "not enabled" });
    room.ok(&["create"]);
    room.ok(&["start"]);
    let refused = room.exec(&["--apparmor", name], "true");
    assert_eq!(refused.status.code(), Some(255));
    let said = errors(&refused);
    assert!(said.contains(name) && said.contains(why), "{said}");
    assert_eq!(room.status(), "running");
    room.ok(&["delete", "--force"]);
    room.set("/process/apparmorProfile", json!(name));
    let refused = room.run(&["create", &room.id]);
    let said = errors(&refused);
    assert!(said.contains(name) && said.contains(why), "{said}");
    room.assert_gone();
}
