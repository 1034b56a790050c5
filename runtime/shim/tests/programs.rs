//! Runtimes that are run as programs.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod support;

use serde_json::json;
use shim_client::protocol::{Event, Phase, Program, Runtime, Whom};
use shim_client::{Descriptors, Kind};
use std::io::Read;
use std::path::{Path, PathBuf};
use support::{Room, exec};

/// The runtimes of this machine, and a skip for each that is missing.
fn programs() -> Vec<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"];
    let find = |name: &str| {
        if name == "crun" && Path::new("/sys/fs/cgroup/unified/cgroup.controllers").is_file() {
            lab::skip("crun: does not know the hybrid layout of control groups that is here");
            return None;
        }
        let found = places.iter().map(|place| Path::new(place).join(name)).find(|it| it.is_file());
        if found.is_none() {
            lab::skip(&format!("{name}: not installed"));
        }
        found
    };
    ["runc", "crun"].into_iter().filter_map(find).collect()
}

fn by(program: &Path) -> Runtime {
    Runtime::Program(Program { path: program.to_owned(), ..Program::default() })
}

#[tokio::test]
async fn other_runtimes_make_containers_too() {
    for program in programs() {
        let Some(room) = Room::new() else { return };
        let shim = room.spawn().await;
        let mut bundle =
            room.bundle("c", "echo out; trap 'exit 3' TERM; while :; do sleep 0.05; done");
        bundle.runtime = by(&program);
        let made = shim.create(&bundle.create()).await.expect("a container");
        assert!(Path::new(&format!("/proc/{}", made.pid)).exists());
        shim.start("c").await.expect("started");
        lab::until("it is ready", support::PATIENCE, || bundle.lines() == ["stdout F out"]);
        let (text, code) = exec(&shim, "c", "e", "echo hello; exit 4").await;
        assert_eq!((text.as_str(), code), ("hello\n", 4), "{program:?}");
        let limits = json!({"memory": {"limit": 100 << 20}});
        shim.update("c", limits).await.expect("limited");
        shim.pause("c").await.expect("paused");
        assert_eq!(shim.state("c").await.expect("state").phase, Phase::Paused);
        shim.resume("c").await.expect("resumed");
        shim.kill("c", 15, Whom::First).await.expect("told");
        assert_eq!(shim.wait("c").await.expect("its end").code, 3, "{program:?}");
        shim.delete("c", false).await.expect("removed");
        shim.shutdown(false).await.expect("ended");
    }
}

#[tokio::test]
async fn their_terminals_are_handed_over() {
    for program in programs() {
        let Some(room) = Room::new() else { return };
        let shim = room.spawn().await;
        let mut bundle = room.bundle("c", "tty; exec sleep 100");
        bundle.runtime = by(&program);
        bundle.set("/process/terminal", json!(true));
        bundle.run(&shim).await;
        lab::until("it has one", support::PATIENCE, || {
            bundle.lines().iter().any(|line| line.contains("/dev/"))
        });
        let mut process = support::process("read line; echo got $line");
        process["terminal"] = json!(true);
        let made = shim.exec("c", "e", process, Descriptors::default()).await;
        let mut made = made.expect("a process");
        let mut terminal = std::fs::File::from(made.terminal.take().expect("a terminal"));
        std::io::Write::write_all(&mut terminal, b"x\n").expect("typed");
        let mut text = Vec::new();
        // At its end a terminal gives an error.
        let _ = terminal.read_to_end(&mut text);
        assert!(String::from_utf8_lossy(&text).contains("got x\r\n"), "{program:?}: {text:?}");
        assert_eq!(made.wait().await.expect("its end").code, 0);
        shim.shutdown(true).await.expect("ended");
    }
}

#[tokio::test]
async fn what_they_say_is_told() {
    for program in programs() {
        let Some(room) = Room::new() else { return };
        let shim = room.spawn().await;
        let mut bundle = room.bundle("c", "true");
        bundle.runtime = by(&program);
        bundle.set("/process/args", json!(["/nothing"]));
        let made = shim.create(&bundle.create()).await;
        // runc tells at once, crun too; neither leaves anything.
        let error = made.expect_err("no such program");
        assert!(error.cause.contains("/nothing"), "{program:?}: {error}");
        assert!(shim.list().await.expect("list").is_empty());
        shim.shutdown(false).await.expect("ended");
    }
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let mut bundle = room.bundle("c", "true");
    bundle.runtime = by(Path::new("/nothing/runc"));
    let error = shim.create(&bundle.create()).await.expect_err("no such runtime");
    assert_eq!(error.kind, Kind::Io);
    assert!(error.subject.contains("/nothing/runc") && !error.advice.is_empty(), "{error}");
    shim.shutdown(false).await.expect("ended");
}

#[tokio::test]
async fn memory_that_ran_out_is_told() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let mut events = shim.events();
    // A shell's own memory: it doubles a text until it is killed.
    let mut bundle = room.bundle("c", "x=0123456789abcdef; while :; do x=$x$x; done");
    bundle.set("/linux/resources", json!({"memory": {"limit": 32 << 20, "swap": 32 << 20}}));
    bundle.run(&shim).await;
    let exit = tokio::time::timeout(support::PATIENCE, shim.wait("c")).await.expect("in time");
    let exit = exit.expect("its end");
    assert_eq!((exit.code, exit.oom), (137, true));
    assert_eq!(events.next().await, Some(Event::Oom { id: "c".to_owned() }));
    shim.shutdown(true).await.expect("ended");
}
