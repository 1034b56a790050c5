//! What callers and configurations of other runtimes rely on beyond the specification.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod support;

use serde_json::json;
use support::{Room, errors, text};

#[test]
fn added_processes_have_the_personality_of_the_container() {
    let Some(mut room) = Room::new("sleep 100") else { return };
    room.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    room.ok(&["create"]);
    room.ok(&["start"]);
    let own = std::fs::read_to_string(format!("/proc/{}/personality", room.pid())).expect("its");
    assert_eq!(own.trim(), "00000008");
    assert_eq!(text(&room.exec(&[], "cat /proc/self/personality")).trim(), "00000008");
    room.ok(&["delete", "--force"]);
}

#[test]
fn processors_are_not_those_of_the_caller() {
    let Some(room) = Room::new("nproc") else { return };
    let all = std::thread::available_parallelism().expect("a number").get();
    if all < 2 {
        return lab::skip("processors: there is one only");
    }
    let one = std::process::Command::new("taskset")
        .args(["-c", "0", env!("CARGO_BIN_EXE_podloom-oci"), "--root"])
        .arg(room.dir.join("state"))
        .args(["run", "--bundle"])
        .arg(room.command(&[]).get_current_dir().expect("a directory"))
        .arg(&room.id)
        .output()
        .expect("taskset");
    assert_eq!(text(&one).trim(), all.to_string());
}

#[test]
fn the_last_home_counts() {
    let Some(mut room) = Room::new("echo $HOME") else { return };
    let path = "PATH=/bin";
    for (env, want) in [
        (json!([path, "HOME=/a", "HOME=/b"]), "/b"),
        (json!([path, "HOME=/a", "HOME="]), "/root"),
        (json!([path, "HOME=", "HOME=/b"]), "/b"),
    ] {
        room.set("/process/env", env);
        assert_eq!(text(&room.whole()).trim(), want);
    }
}

#[test]
fn a_failure_to_add_a_process_differs_from_its_exit_status() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    assert_eq!(room.exec(&[], "exit 1").status.code(), Some(1));
    let missing = room.run(&["exec", &room.id, "/nope"]);
    assert_eq!(missing.status.code(), Some(255), "{missing:?}");
    room.ok(&["delete", "--force"]);
}

#[test]
fn documents_have_their_keys_in_runcs_order() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    let list = text(&room.run(&["list", "--format", "json"]));
    let keys = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"];
    let at: Vec<_> = keys.iter().map(|key| list.find(&format!("\"{key}\":"))).collect();
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{list}");
    let stats = room.ok(&["events", "--stats"]);
    assert!(stats.starts_with(&format!("{{\"type\":\"stats\",\"id\":\"{}\",", room.id)), "{stats}");
    room.ok(&["delete", "--force"]);
}

#[test]
fn sigkill_ends_all_where_no_pid_namespace_does() {
    let Some(mut room) = Room::new("sleep 100 & sleep 100 & sleep 100") else { return };
    let namespaces = room.config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|namespace| namespace["type"] != "pid");
    room.ok(&["create"]);
    room.ok(&["start"]);
    let count = || room.ok(&["ps", "--format", "json"]).split(',').count();
    lab::until("all run", support::PATIENCE, || count() >= 3);
    let killed = room.run(&["kill", &room.id, "KILL"]);
    assert_eq!(text(&killed), "");
    assert_eq!(room.ok(&["ps", "--format", "json"]).trim(), "[]");
    let again = room.run(&["kill", &room.id, "0"]);
    assert!(errors(&again).contains("container not running"), "{again:?}");
    room.ok(&["delete"]);
    room.assert_gone();
}

#[test]
fn a_directory_that_only_the_runtime_may_enter_is_entered() {
    use std::os::unix::fs::PermissionsExt;
    let Some(mut room) = Room::new("pwd") else { return };
    let private = room.rootfs().join("private");
    std::fs::create_dir(&private).expect("a directory");
    std::fs::set_permissions(&private, PermissionsExt::from_mode(0o700)).expect("a mode");
    room.set("/process/user", json!({"uid": 7, "gid": 8}));
    room.set("/process/cwd", json!("/private"));
    assert_eq!(text(&room.whole()).trim(), "/private");
}

#[test]
fn hooks_of_the_container_begin_in_its_root() {
    let Some(mut room) = Room::new("cat /made") else { return };
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo here > ./made"]}]);
    room.config["root"]["readonly"] = json!(false);
    room.config["hooks"] = json!({"createContainer": hook});
    assert_eq!(text(&room.whole()).trim(), "here");
}

#[test]
fn a_time_namespace_takes_further_processes() {
    let Some(mut room) = Room::new("sleep 100") else { return };
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        return lab::skip("time namespace: not in this kernel");
    }
    room.push("/linux/namespaces", json!({"type": "time"}));
    room.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1337}});
    room.ok(&["create"]);
    room.ok(&["start"]);
    let offsets = text(&room.exec(&[], "cat /proc/self/timens_offsets"));
    assert!(offsets.contains("1337"), "{offsets}");
    room.ok(&["delete", "--force"]);
}

#[test]
fn lines_of_a_terminal_end_without_a_carriage_return() {
    let Some(mut room) = Room::new("echo one; echo two") else { return };
    room.set("/process/terminal", json!(true));
    assert_eq!(room.whole().stdout, b"one\ntwo\n");
}

#[test]
fn a_start_hook_without_an_environment_has_that_of_the_process() {
    let Some(mut room) = Room::new("cat /made") else { return };
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo $WHO > /made"]}]);
    room.config["root"]["readonly"] = json!(false);
    room.config["hooks"] = json!({"startContainer": hook});
    room.set("/process/env", json!(["PATH=/bin", "WHO=me"]));
    assert_eq!(text(&room.whole()).trim(), "me");
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo $HOME > /made"]}]);
    room.config["hooks"] = json!({"startContainer": hook});
    room.set("/process/user", json!({"uid": 7}));
    assert_eq!(text(&room.whole()).trim(), "/tmp", "that of its user");
}

#[test]
fn clocks_of_a_new_user_namespace_are_set() {
    let Some(mut room) = Room::new("cat /proc/self/timens_offsets") else { return };
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        return lab::skip("time namespace: not in this kernel");
    }
    room.push("/linux/namespaces", json!({"type": "time"}));
    room.push("/linux/namespaces", json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    room.config["linux"]["uidMappings"] = map.clone();
    room.config["linux"]["gidMappings"] = map;
    room.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1337}});
    assert!(text(&room.whole()).contains("1337"));
}

#[test]
fn a_state_root_that_is_named_must_be_there_to_be_listed() {
    let Some(room) = Room::new("true") else { return };
    let refused = room.run(&["list"]);
    assert!(errors(&refused).contains("--root: no such file"), "{refused:?}");
    room.ok(&["create"]);
    assert!(text(&room.run(&["list", "--quiet"])).contains(&room.id));
}
