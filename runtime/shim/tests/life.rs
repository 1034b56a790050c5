//! The life of containers and of their processes.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod support;

use shim_client::Kind;
use shim_client::protocol::{Phase, Whom};
use support::{Room, exec};

#[tokio::test]
async fn a_container_is_made_started_and_ends_with_its_status() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let bundle = room.bundle("c", "echo out; echo err >&2; exit 7");
    let made = shim.create(&bundle.create()).await.expect("a container");
    assert_eq!(shim.state("c").await.expect("state").phase, Phase::Created);
    shim.start("c").await.expect("started");
    let exit = shim.wait("c").await.expect("its end");
    assert_eq!((exit.code, exit.signal, exit.pid, exit.oom), (7, None, made.pid, false));
    let mut lines = bundle.lines();
    lines.sort();
    assert_eq!(lines, ["stderr F err", "stdout F out"]);
    let state = shim.state("c").await.expect("state");
    assert_eq!(state.phase, Phase::Stopped);
    assert!(state.started_at > 0 && exit.at > state.started_at, "{state:?}");
    shim.delete("c", false).await.expect("removed");
    shim.delete("c", false).await.expect("removing nothing is no error");
    assert_eq!(shim.state("c").await.expect_err("gone").kind, Kind::NotFound);
    assert!(shim_client::exits(shim.dir()).expect("records").is_empty());
    shim.shutdown(false).await.expect("ended");
    assert!(!shim.is_alive());
}

#[tokio::test]
async fn one_that_is_being_made_is_removed_when_it_is_made() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let gate = room.dir.join("gate");
    let hook = |end: &str| {
        let wait = format!("while ! test -e {}; do sleep 0.01; done; {end}", gate.display());
        let env = ["PATH=/usr/bin:/bin"];
        serde_json::json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", wait], "env": env}]})
    };
    for (end, is_made) in [("exit 0", true), ("exit 1", false)] {
        let mut bundle = room.bundle("c", "sleep 100");
        bundle.set("/hooks", hook(end));
        let order = bundle.create();
        let mut creating = Box::pin(shim.create(&order));
        let soon = std::time::Duration::from_millis(100);
        let made = tokio::time::timeout(soon, &mut creating).await;
        assert!(made.is_err(), "it waits for its hook: {made:?}");
        assert_eq!(shim.state("c").await.expect("state").phase, Phase::Creating);
        let early = shim.delete("c", false).await.expect_err("not without force");
        assert_eq!(early.kind, Kind::Precondition);
        let mut deleting = Box::pin(shim.delete("c", true));
        assert!(tokio::time::timeout(soon, &mut deleting).await.is_err(), "it waits");
        std::fs::write(&gate, "").expect("the gate");
        assert_eq!(creating.await.is_ok(), is_made);
        deleting.await.expect("removed");
        assert!(shim.list().await.expect("containers").is_empty());
        std::fs::remove_file(&gate).expect("the gate");
    }
    let mut wrong = room.bundle("w", "true");
    wrong.set("/process/cwd", serde_json::json!("relative"));
    assert_eq!(shim.create(&wrong.create()).await.expect_err("refused").kind, Kind::Invalid);
    shim.shutdown(false).await.expect("ended");
}

#[tokio::test]
async fn signals_come_to_the_first_process_and_to_added_ones() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let bundle =
        room.bundle("c", "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    bundle.run(&shim).await;
    lab::until("it is ready", support::PATIENCE, || !bundle.lines().is_empty());
    let added = shim.exec("c", "e", support::process("sleep 100"), Default::default()).await;
    let mut added = added.expect("a process");
    assert_eq!(shim.state("c").await.expect("state").execs, ["e"]);
    shim.kill("c", 9, Whom::Exec("e".to_owned())).await.expect("killed");
    let end = added.wait().await.expect("its end");
    assert_eq!((end.code, end.signal), (137, Some(9)));
    shim.kill("c", 15, Whom::First).await.expect("told");
    assert_eq!(shim.wait("c").await.expect("its end").code, 3);
    assert_eq!(bundle.lines(), ["stdout F ready", "stdout F told"]);
    let late = shim.kill("c", 15, Whom::First).await.expect_err("has ended");
    assert_eq!(late.kind, Kind::Precondition);
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn exec_reads_and_writes_the_descriptors_themselves() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    room.bundle("c", "sleep 100").run(&shim).await;
    let (text, code) = exec(&shim, "c", "e", "echo hello; echo pid $$ >&2; exit 4").await;
    assert!(text.starts_with("hello\npid "), "{text}");
    assert_eq!(code, 4);
    let missing = shim.exec(
        "c",
        "f",
        serde_json::json!({"cwd": "/", "args": ["/nothing"]}),
        Default::default(),
    );
    assert!(missing.await.is_err());
    assert!(shim.state("c").await.expect("state").execs.is_empty());
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn filters_are_compiled_once_for_all_pods() {
    let filters = {
        let Some(room) = Room::new() else { return };
        room.dir.with_extension("filters")
    };
    for _ in 0..2 {
        let Some(room) = Room::new() else { return };
        let shim = room.spawn().await;
        let mut bundle = room.bundle("c", "mkdir /tmp/x; echo $?; sleep 100");
        bundle.set(
            "/linux/seccomp",
            serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
                [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}),
        );
        if let shim_client::protocol::Runtime::BuiltIn(settings) = &mut bundle.runtime {
            settings.filters = Some(filters.clone());
        }
        bundle.run(&shim).await;
        lab::until("it has tried", support::PATIENCE, || {
            bundle.lines().contains(&"stdout F 1".to_owned())
        });
        let kept = std::fs::read_dir(&filters).expect("a folder").count();
        assert_eq!(kept, 1);
        shim.shutdown(true).await.expect("ended");
    }
    std::fs::remove_dir_all(&filters).expect("the folder");
}
