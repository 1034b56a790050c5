//! Commands that are killed at any time, commands that race, and many containers at once.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod support;

use serde_json::json;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{PATIENCE, Room, errors, text, wait};

/// At how many moments of its work each command is killed.
fn steps() -> u32 {
    let given = std::env::var("PODLOOM_STEPS").ok().and_then(|steps| steps.parse().ok());
    given.unwrap_or(20)
}

fn begin(room: &Room, args: &[&str]) -> Child {
    let mut command = room.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start it")
}

/// How long a command takes here.
fn time_of(room: &Room, args: &[&str]) -> Duration {
    let begun = Instant::now();
    room.ok(args);
    begun.elapsed()
}

/// Kills a command that takes `whole` at a moment of it.
fn cut(room: &Room, args: &[&str], whole: Duration, step: u32) {
    let args: Vec<&str> = args.iter().copied().chain([room.id.as_str()]).collect();
    let mut child = begin(room, &args);
    std::thread::sleep(whole * step / steps());
    let _ = child.kill();
    wait(&mut child, PATIENCE).expect("it ends");
}

/// One that still waits can be started after all, and one that was started runs.
#[test]
fn start_killed_at_any_time_has_started_it_or_not() {
    let Some(room) = Room::new("echo started >/tmp/started; sleep 100") else { return };
    let mark = room.rootfs().join("tmp/started");
    room.ok(&["create"]);
    let whole = time_of(&room, &["start"]);
    room.ok(&["delete", "--force"]);
    for step in 0..steps() {
        let _ = std::fs::remove_file(&mark);
        room.ok(&["create"]);
        cut(&room, &["start"], whole, step);
        match room.status().as_str() {
            "created" => {
                // Told to go on it may do so between the two.
                let again = room.run(&["start", &room.id]);
                let late = errors(&again).contains("already running");
                assert!(again.status.success() || late, "step {step}: {again:?}");
            }
            "running" => {}
            other => panic!("step {step}: {other}"),
        }
        lab::until(&format!("step {step}: it has started"), PATIENCE, || mark.exists());
        assert_eq!(room.status(), "running");
        room.ok(&["delete", "--force"]);
        room.assert_gone();
    }
}

#[test]
fn delete_killed_at_any_time_is_done_by_the_next() {
    let Some(room) = Room::new("sleep 100") else { return };
    let make = || {
        room.ok(&["create"]);
        room.ok(&["start"]);
        room.pid()
    };
    make();
    let whole = time_of(&room, &["delete", "--force"]);
    for step in 0..steps() {
        let pid = make();
        cut(&room, &["delete", "--force"], whole, step);
        room.ok(&["delete", "--force"]);
        lab::until(&format!("step {step}: its process is gone"), PATIENCE, || {
            !std::path::Path::new(&format!("/proc/{pid}")).exists()
        });
        room.assert_gone();
    }
}

/// Without a PID namespace of its own, processes outlive the first one.
#[test]
fn delete_killed_at_any_time_leaves_no_process() {
    let Some(mut room) = Room::new("sleep 100 & sleep 100 & sleep 100") else { return };
    room.set("/linux/namespaces", json!([{"type": "mount"}, {"type": "uts"}]));
    let make = || {
        room.ok(&["create"]);
        room.ok(&["start"]);
    };
    make();
    let whole = time_of(&room, &["delete", "--force"]);
    for step in 0..steps() / 2 {
        make();
        cut(&room, &["delete", "--force"], whole, step * 2);
        room.ok(&["delete", "--force"]);
        room.assert_gone();
    }
}

/// Of commands that want the same at the same time one does it, and the others say why not.
#[test]
fn of_many_creations_and_starts_one_succeeds() {
    let Some(room) = Room::new("sleep 100") else { return };
    drop(room.command(&[]));
    let race = |command: &str| {
        std::thread::scope(|scope| {
            let run = || room.run(&[command, &room.id]);
            let all: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            all.into_iter().map(|one| one.join().expect("it ends")).collect::<Vec<_>>()
        })
    };
    for _ in 0..5 {
        for (command, status, refusal) in [
            ("create", "created", "already exists"),
            ("start", "running", "cannot start an already running container"),
        ] {
            let ends = race(command);
            assert_eq!(ends.iter().filter(|end| end.status.success()).count(), 1, "{ends:?}");
            let refused = ends.iter().filter(|end| !end.status.success());
            for end in refused {
                assert!(errors(end).contains(refusal), "{end:?}");
            }
            assert_eq!(room.status(), status);
        }
        let ends = race("start");
        assert!(ends.iter().all(|end| !end.status.success()), "{ends:?}");
        assert_eq!(room.status(), "running");
        room.ok(&["delete", "--force"]);
        room.assert_gone();
    }
}

/// One is made while others of its name are removed: it is there as a whole, or not at all.
#[test]
fn a_removal_beside_a_creation_harms_no_other() {
    let Some(room) = Room::new("sleep 100") else { return };
    for _ in 0..10 {
        std::thread::scope(|scope| {
            let remove = || text(&room.run(&["delete", "--force", &room.id]));
            let all: Vec<_> = (0..3).map(|_| scope.spawn(remove)).collect();
            let made = room.run(&["create", &room.id]);
            all.into_iter().for_each(|one| drop(one.join().expect("it ends")));
            assert!(made.status.success() || !errors(&made).contains("exists"), "{made:?}");
        });
        if room.state_dir().exists() {
            assert_eq!(room.status(), "created");
            room.ok(&["start"]);
        }
        room.ok(&["delete", "--force"]);
        room.assert_gone();
    }
}

/// The cost of a command does not depend on how many containers there are. The thousand are records
/// of one process: `list` looks at it a thousand times.
#[test]
fn a_thousand_containers_are_listed_and_cost_the_others_nothing() {
    const COUNT: usize = 1000;
    let Some(room) = Room::new("sleep 100") else { return };
    let Some(lone) = Room::new("sleep 100") else { return };
    let life = |room: &Room, root: &std::path::Path| {
        let root = root.to_string_lossy();
        let begun = Instant::now();
        for args in [&["create"][..], &["start"], &["state"], &["delete", "--force"]] {
            let args: Vec<&str> = ["--root", &root].iter().chain(args).copied().collect();
            room.ok(&args);
        }
        begun.elapsed()
    };
    room.ok(&["create"]);
    room.ok(&["start"]);
    let state = room.dir.join("state");
    let record = std::fs::read_to_string(room.state_dir().join("state.json")).expect("a record");
    for number in 0..COUNT {
        let id = format!("many-{number}");
        let dir = state.join(&id);
        std::fs::create_dir(&dir).expect("a directory");
        let record = record.replace(&format!("\"{}\"", room.id), &format!("\"{id}\""));
        std::fs::write(dir.join("state.json"), record).expect("a record");
    }
    // A minute is for machines without a processor's help.
    let shown = text(&room.run_within(&["list", "--format", "json"], PATIENCE * 3));
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("a list");
    let running = |one: &&serde_json::Value| one["status"] == "running";
    assert_eq!(shown.as_array().expect("a list").iter().filter(running).count(), COUNT + 1);
    // In turn, and the fastest of each: other work on the machine only adds.
    let (mut alone, mut among) = (Duration::MAX, Duration::MAX);
    for _ in 0..8 {
        alone = alone.min(life(&lone, &lone.dir.join("state")));
        among = among.min(life(&lone, &state));
    }
    assert!(among < alone * 3 / 2, "alone {alone:?}, among a thousand {among:?}");
    room.ok(&["delete", "--force"]);
    room.assert_gone();
    lone.assert_gone();
}
