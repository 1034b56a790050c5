//! Hooks: their order, what they read, where they run, and what their failure means.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod support;

use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use support::{Room, errors, text};

/// A hook that writes its name, the status it reads, and its mount namespace to a file of the host.
fn hook(room: &Room, name: &str, more: &str) -> Value {
    let log = room.dir.join("hooks");
    let line = format!(
        "s=$(cat | tr -d ' \\n' | sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/'); \
         echo {name} $s $X $(readlink /proc/self/ns/net) >> {}; {more}",
        log.display()
    );
    json!({"path": "/bin/sh", "args": ["sh", "-c", line], "env": ["X=env", "PATH=/usr/bin:/bin"]})
}

#[test]
fn they_run_in_order_with_the_state_on_standard_input() {
    let Some(mut room) = Room::new("cat /tmp/inside; sleep 100") else { return };
    let shared = room.dir.join("bundle/rootfs/tmp");
    std::fs::create_dir_all(&shared).expect("a directory");
    let inside =
        json!({"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/inside"], "env": ["PATH=/bin"]});
    let list = |name: &str| json!([hook(&room, name, "")]);
    let hooks = json!({"prestart": list("prestart"), "createRuntime": list("createRuntime"),
        "createContainer": list("createContainer"), "startContainer": [inside],
        "poststart": list("poststart"), "poststop": list("poststop")});
    room.set("/hooks", hooks);
    room.ok(&["create"]);
    let net = std::fs::read_link(format!("/proc/{}/ns/net", room.pid())).expect("a namespace");
    let log = || std::fs::read_to_string(room.dir.join("hooks")).unwrap_or_default();
    let words = |log: String| -> Vec<String> {
        log.lines()
            .map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let made =
        ["prestart created env", "createRuntime creating env", "createContainer creating env"];
    assert_eq!(words(log()), made);
    let nets: Vec<bool> =
        log().lines().map(|line| line.contains(&*net.to_string_lossy())).collect();
    assert_eq!(nets, [false, false, true]);
    assert!(!shared.join("inside").exists());
    room.ok(&["start"]);
    let state: Value =
        serde_json::from_str(&std::fs::read_to_string(shared.join("inside")).expect("inside"))
            .expect("a state");
    assert_eq!(
        (state["status"].as_str(), state["id"].as_str()),
        (Some("created"), Some(&*room.id))
    );
    assert_eq!(state["pid"], 1, "as the container sees it");
    assert_eq!(words(log()).last().expect("a line"), "poststart running env");
    room.ok(&["delete", "--force"]);
    assert_eq!(words(log()).last().expect("a line"), "poststop stopped env");
    room.assert_gone();
}

#[test]
fn a_failure_before_the_start_undoes_the_container() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let Some(mut room) = Room::new("sleep 100") else { return };
        room.set("/hooks", json!({kind: [hook(&room, kind, "exit 9")]}));
        let failed = room.run(&["create", &room.id]);
        let told = errors(&failed);
        assert!(told.contains(kind) && told.contains("status 9"), "{failed:?}");
        room.assert_gone();
    }
    let Some(mut room) = Room::new("echo never") else { return };
    room.set("/hooks", json!({"startContainer": [{"path": "/bin/false"}]}));
    let failed = room.whole();
    assert!(errors(&failed).contains("startContainer"), "{failed:?}");
    assert!(failed.stdout.is_empty());
    room.assert_gone();
    room.set("/hooks", json!({"poststart": [{"path": "/bin/false"}]}));
    room.set("/process/args", json!(["sleep", "100"]));
    room.ok(&["create"]);
    assert!(errors(&room.run(&["start", &room.id])).contains("poststart"));
    room.until_status("stopped");
    room.ok(&["delete"]);
    room.assert_gone();
}

#[test]
fn a_failure_after_the_end_is_told_and_hinders_nothing() {
    let Some(mut room) = Room::new("sleep 100") else { return };
    let (first, third) = (json!({"path": "/bin/false"}), hook(&room, "third", ""));
    room.set("/hooks", json!({"poststop": [first, {"path": "/nope"}, third]}));
    room.ok(&["create"]);
    let deleted = room.run(&["delete", &room.id]);
    assert!(deleted.status.success(), "{deleted:?}");
    let told = errors(&deleted);
    assert!(told.contains("poststop hook #0: ended with status 1"), "{told}");
    assert!(told.contains("poststop hook #1") && told.contains("level=warning"), "{told}");
    let log = std::fs::read_to_string(room.dir.join("hooks")).expect("the third has run");
    assert!(log.starts_with("third stopped"), "{log}");
    room.assert_gone();
}

#[test]
fn one_that_hangs_is_killed_after_its_timeout() {
    let Some(mut room) = Room::new("sleep 100") else { return };
    let mut slow = hook(&room, "slow", "exec sleep 60");
    slow["timeout"] = json!(1);
    room.set("/hooks", json!({"createRuntime": [slow]}));
    let begun = Instant::now();
    let failed = room.run(&["create", &room.id]);
    assert!(errors(&failed).contains("timeout"), "{failed:?}");
    assert!(begun.elapsed() < Duration::from_secs(50));
    room.assert_gone();
}

/// CVE-2019-5736 by way of a hook in the container.
#[test]
fn a_hook_of_the_image_is_not_the_hosts_program() {
    let Some(mut room) = Room::new("echo ran") else { return };
    let path = room.rootfs().join("bin/hook");
    std::fs::write(&path, "#!/proc/self/exe\n").expect("a script");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("chmod");
    room.set(
        "/hooks",
        json!({"startContainer": [{"path": "/bin/hook", "args": ["hook", "--version"]}]}),
    );
    let failed = room.whole();
    assert!(!failed.status.success() && failed.stdout.is_empty(), "{failed:?}");
    room.set("/hooks", json!({}));
    assert_eq!(text(&room.whole()), "ran");
}

#[test]
fn what_a_failed_hook_said_is_told() {
    let Some(mut room) = Room::new("sleep 100") else { return };
    let long = "x".repeat(3000);
    let line = format!("echo first >&2; echo {long} >&2; echo the last words >&2; exit 3");
    let talker = |shell: &str| json!([{"path": shell, "args": ["sh", "-c", line]}]);
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let shell = if kind == "startContainer" { "/bin/sh" } else { "/usr/bin/sh" };
        room.set("/hooks", json!({kind: talker(shell)}));
        let told = errors(&room.run(&["run", &room.id]));
        let told = told.lines().find(|line| line.contains("level=error")).expect("an error");
        assert!(told.contains("status 3") && told.contains("the last words"), "{kind}: {told}");
        assert!(!told.contains("first") && told.len() < 2000, "{kind}: {told}");
        room.ok(&["delete", "--force"]);
    }
    // Who stays behind with the hook's streams holds up nobody.
    let stays = json!([{"path": "/bin/sh", "args": ["sh", "-c", "sleep 200 & exit 0"]}]);
    room.set("/hooks", json!({"createRuntime": stays}));
    let begun = Instant::now();
    room.ok(&["create"]);
    assert!(begun.elapsed() < Duration::from_secs(50));
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}

#[test]
fn a_deletion_that_is_killed_leaves_its_hooks_to_the_next_one() {
    let Some(mut room) = Room::new("sleep 100") else { return };
    let slow = hook(&room, "slow", "test -e second || { touch second; exec sleep 60; }");
    let slow = json!({"path": "/bin/sh", "args": slow["args"], "env": slow["env"]});
    room.set("/hooks", json!({"poststop": [slow, hook(&room, "last", "")]}));
    room.ok(&["create"]);
    let log = || std::fs::read_to_string(room.dir.join("hooks")).unwrap_or_default();
    let mut killed = room.command(&["delete", &room.id]).spawn().expect("delete");
    lab::until("the hook runs", support::PATIENCE, || log().contains("slow"));
    let gone = errors(&room.run(&["state", &room.id]));
    assert!(gone.contains("does not exist"), "{gone}");
    killed.kill().expect("kill");
    killed.wait().expect("its end");
    assert!(!log().contains("last"));
    // A new one of this name has hooks of its own, and those of the first come before.
    room.ok(&["create"]);
    room.ok(&["delete"]);
    let names: Vec<String> =
        log().lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
    assert_eq!(names, ["slow", "slow", "last", "slow", "last"], "{}", log());
    assert!(errors(&room.run(&["delete", &room.id])).contains("does not exist"));
    room.assert_gone();
}
