//! A container's life: its states, and what ends it at any point of it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod support;

use serde_json::json;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{Room, errors, text, wait};

#[test]
fn it_is_created_started_killed_and_deleted() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    assert_eq!(room.status(), "created");
    let pid = room.pid();
    room.ok(&["start"]);
    assert_eq!(room.status(), "running");
    assert_eq!(room.pid(), pid);
    let again = room.run(&["start", &room.id]);
    assert!(errors(&again).contains("cannot start an already running container"), "{again:?}");
    let early = room.run(&["delete", &room.id]);
    assert!(errors(&early).contains("not stopped"), "{early:?}");
    room.run(&["kill", &room.id, "KILL"]);
    room.until_status("stopped");
    let dead = room.run(&["kill", &room.id, "KILL"]);
    assert!(errors(&dead).contains("container not running"), "{dead:?}");
    room.ok(&["delete"]);
    room.assert_gone();
    let missing = room.run(&["state", &room.id]);
    assert!(errors(&missing).contains("container does not exist"), "{missing:?}");
    assert_eq!(room.run(&["delete", "--force", &room.id]).status.code(), Some(0));
}

#[test]
fn a_name_is_taken_once() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    let second = room.run(&["create", &room.id]);
    assert!(errors(&second).contains("already exists"), "{second:?}");
    assert_eq!(room.status(), "created");
    room.ok(&["delete"]);
    room.assert_gone();
}

#[test]
fn exit_statuses_are_those_of_the_process() {
    let Some(mut room) = Room::new("exit 42") else { return };
    assert_eq!(room.whole().status.code(), Some(42));
    room.set("/process/args", json!(["sh", "-c", "kill -9 $$; sleep 5"]));
    // A first process of a namespace cannot kill itself; another one can be killed.
    room.set("/process/args", json!(["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]));
    assert_eq!(room.whole().status.code(), Some(137));
    room.assert_gone();
}

#[test]
fn a_program_that_is_missing_fails_at_create() {
    let Some(mut room) = Room::new("") else { return };
    for (args, want) in [
        (json!(["nope"]), "executable file not found in $PATH"),
        (json!(["/nope"]), "no such file or directory"),
        (json!(["/etc/passwd"]), "permission denied"),
    ] {
        room.set("/process/args", args);
        let failed = room.run(&["create", &room.id]);
        assert!(errors(&failed).contains(want), "{want}: {failed:?}");
        room.assert_gone();
    }
}

#[test]
fn a_program_that_cannot_be_executed_fails_start() {
    let Some(mut room) = Room::new("") else { return };
    std::fs::write(room.rootfs().join("bin/odd"), "no program").expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(room.rootfs().join("bin/odd"), mode).expect("chmod");
    room.set("/process/args", json!(["/bin/odd"]));
    room.ok(&["create"]);
    let failed = room.run(&["start", &room.id]);
    assert!(errors(&failed).contains("exec format error"), "{failed:?}");
    room.until_status("stopped");
    room.ok(&["delete"]);
    room.assert_gone();
}

/// A creator that is killed at any time leaves something that `delete --force` removes.
#[test]
fn create_killed_at_any_time_is_removed_by_delete() {
    let Some(room) = Room::new("sleep 100") else { return };
    for step in 0..40_u64 {
        let mut command = room.command(&["create", &room.id]);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start it");
        std::thread::sleep(Duration::from_micros(step * 400));
        let _ = child.kill();
        wait(&mut child, support::PATIENCE).expect("it ends");
        let deleted = room.run(&["delete", "--force", &room.id]);
        assert!(deleted.status.success(), "step {step}: {deleted:?}");
        room.assert_gone();
    }
}

#[test]
fn half_made_and_damaged_state_is_listed_and_deleted() {
    let Some(room) = Room::new("sleep 100") else { return };
    std::fs::create_dir_all(room.state_dir()).expect("a directory");
    assert!(text(&room.run(&["list"])).contains(&room.id));
    assert!(!room.run(&["state", &room.id]).status.success());
    room.ok(&["delete", "--force"]);
    room.assert_gone();
    room.ok(&["create"]);
    room.ok(&["start"]);
    let pid = room.pid();
    std::fs::write(room.state_dir().join("state.json"), "{\"id\": tru").expect("damage");
    assert!(text(&room.run(&["list", "--format", "json"])).contains("unknown"));
    room.ok(&["delete", "--force"]);
    lab::until("its process is gone", support::PATIENCE, || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
    room.assert_gone();
}

#[test]
fn the_bundle_may_be_gone() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    std::fs::rename(room.dir.join("bundle/config.json"), room.dir.join("config")).expect("mv");
    assert_eq!(text(&room.exec(&[], "echo still")), "still");
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}

#[test]
fn an_init_that_ignores_signals_is_deleted() {
    let Some(room) = Room::new("trap '' TERM INT; while :; do sleep 1; done") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    room.run(&["kill", &room.id, "TERM"]);
    assert_eq!(room.status(), "running");
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}

#[test]
fn a_paused_container_is_resumed_and_deleted() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    room.ok(&["pause"]);
    assert_eq!(room.status(), "paused");
    let refused = room.exec(&[], "true");
    assert!(errors(&refused).contains("paused"), "{refused:?}");
    room.ok(&["resume"]);
    assert_eq!(room.status(), "running");
    room.ok(&["pause"]);
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}

/// The number of a process that is gone may belong to somebody else.
#[test]
fn a_stranger_with_the_number_is_left_alone() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    room.run(&["kill", &room.id, "KILL"]);
    room.until_status("stopped");
    let mut stranger = std::process::Command::new("sleep").arg("100").spawn().expect("a stranger");
    let path = room.state_dir().join("state.json");
    let text = std::fs::read_to_string(&path).expect("a record");
    let mut record: serde_json::Value = serde_json::from_str(&text).expect("a record");
    record["pid"] = json!(stranger.id());
    std::fs::write(&path, record.to_string()).expect("a record");
    assert_eq!(room.status(), "stopped");
    room.ok(&["delete", "--force"]);
    assert!(stranger.try_wait().expect("wait").is_none(), "the stranger was killed");
    let _ = stranger.kill();
    let _ = stranger.wait();
    room.assert_gone();
}

#[test]
fn memory_and_pids_are_limited() {
    let Some(mut room) = Room::new("sh -c 'x=a; while :; do x=$x$x; done'; echo status $?") else {
        return;
    };
    room.set("/linux/resources", json!({"memory": {"limit": 16 << 20}, "pids": {"limit": 20}}));
    let output = text(&room.whole());
    assert!(output.contains("status 137"), "{output}");
    room.set("/process/args", json!(["sleep", "100"]));
    room.ok(&["create"]);
    room.ok(&["start"]);
    let full = room.exec(
        &[],
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do sleep 5 & done; wait",
    );
    assert!(errors(&full).contains("fork"), "{full:?}");
    let updated = room.run(&["update", "--pids-limit", "77", "--memory", "32M", &room.id]);
    assert!(updated.status.success(), "{updated:?}");
    let files: Vec<String> = room
        .groups()
        .iter()
        .filter_map(|dir| std::fs::read_to_string(dir.join("pids.max")).ok())
        .collect();
    assert_eq!(files, ["77\n"]);
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}

#[test]
fn many_containers_at_once() {
    let rooms: Vec<Room> = (0..8).filter_map(|_| Room::new("sleep 100")).collect();
    std::thread::scope(|scope| {
        for room in &rooms {
            scope.spawn(|| {
                for _ in 0..5 {
                    room.ok(&["create"]);
                    room.ok(&["start"]);
                    assert_eq!(text(&room.exec(&[], "hostname")), "inside");
                    room.ok(&["delete", "--force"]);
                    room.assert_gone();
                }
            });
        }
    });
}

#[test]
fn a_console_socket_that_does_not_answer_is_given_up() {
    let Some(mut room) = Room::new("true") else { return };
    room.set("/process/terminal", json!(true));
    let path = room.dir.join("console");
    let begun = Instant::now();
    let missing = room.run(&["create", "--console-socket", &path.to_string_lossy(), &room.id]);
    assert!(errors(&missing).contains("console socket"), "{missing:?}");
    let _deaf = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let made = room.run(&["create", "--console-socket", &path.to_string_lossy(), &room.id]);
    assert!(made.status.success(), "{made:?}");
    assert!(begun.elapsed() < Duration::from_secs(8));
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}

#[test]
fn without_a_process_it_is_created_and_never_started() {
    let Some(mut room) = Room::new("true") else { return };
    room.config.as_object_mut().expect("an object").remove("process");
    room.ok(&["create"]);
    let refused = room.run(&["start", &room.id]);
    assert!(errors(&refused).contains("process: is missing"), "{refused:?}");
    assert_eq!(room.status(), "created");
    room.ok(&["delete"]);
    room.assert_gone();
    let refused = room.whole();
    assert!(errors(&refused).contains("process: is missing"), "{refused:?}");
    room.assert_gone();
}

#[test]
fn signals_end_one_that_waits_for_its_start() {
    for (signal, own) in [("TERM", true), ("HUP", true), ("INT", false)] {
        let Some(mut room) = Room::new("sleep 100") else { return };
        if !own {
            room.set("/linux/namespaces", json!([{"type": "mount"}, {"type": "uts"}]));
        }
        room.ok(&["create"]);
        text(&room.run(&["kill", &room.id, signal]));
        room.until_status("stopped");
        room.ok(&["delete"]);
        room.assert_gone();
    }
}

#[test]
fn memory_with_swap_is_limited_beside_the_limit_of_memory() {
    let Some(mut room) = Room::new("sleep 100") else { return };
    room.set("/linux/resources", json!({"memory": {"limit": 33_554_432, "swap": 50_331_648}}));
    let made = room.run(&["create", &room.id]);
    if errors(&made).contains("swap") || errors(&made).contains("memsw") {
        return lab::skip("limits of swap: not in this kernel");
    }
    text(&made);
    text(&room.run(&["update", "--memory-swap", "64M", &room.id]));
    let read = |file: &str| {
        let read = |dir: &std::path::PathBuf| std::fs::read_to_string(dir.join(file)).ok();
        room.groups().iter().find_map(read)
    };
    let sum = read("memory.memsw.limit_in_bytes").map(|sum| (sum, "67108864\n"));
    let rest = read("memory.swap.max").map(|rest| (rest, "33554432\n"));
    let (is, wanted) = sum.or(rest).expect("a limit");
    assert_eq!(is, wanted);
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}
