//! What becomes of a pod when its daemon or its shim does not live on.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod support;

use shim_client::protocol::wire::{Incoming, Outgoing};
use shim_client::protocol::{Answer, Call, Message, Phase, Request, SOCKET, Whom, frame};
use shim_client::{Descriptors, Kind, Shim};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use support::{Room, exec, shim_pid};

#[tokio::test]
async fn a_new_daemon_finds_what_happened_meanwhile() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let lives = room.bundle("lives", "while :; do echo x; sleep 0.02; done");
    let pid = lives.run(&shim).await;
    let ends = room.bundle("ends", "sleep 0.3; echo late; exit 9");
    ends.run(&shim).await;
    drop(shim);
    lab::until("it ends with nobody there", support::PATIENCE, || {
        shim_client::exits(&room.shim_dir()).is_ok_and(|exits| !exits.is_empty())
    });
    let shim = Shim::connect(&room.shim_dir()).await.expect("it is still there");
    assert_eq!(shim.about().id, room.number);
    let all = shim.list().await.expect("list");
    let state = |id: &str| all.iter().find(|state| state.id == id).expect("state").clone();
    assert_eq!((state("lives").phase, state("lives").pid), (Phase::Running, pid));
    assert_eq!(shim.wait("ends").await.expect("its end").code, 9);
    assert_eq!(ends.lines(), ["stdout F late"]);
    let before = lives.lines().len();
    lab::until("output is still copied", support::PATIENCE, || lives.lines().len() > before + 2);
    // Two at once, as while one takes over from another.
    let other = Shim::connect(&room.shim_dir()).await.expect("a second");
    let mut events = other.events();
    shim.kill("lives", 9, Whom::First).await.expect("killed");
    assert!(events.next().await.is_some(), "both are told");
    shim.shutdown(true).await.expect("ended");
    other.closed().await;
    let gone = Shim::connect(&room.shim_dir()).await.expect_err("nobody");
    assert_eq!(gone.kind, Kind::Unavailable);
}

#[tokio::test]
async fn a_shim_that_is_killed_is_noticed_at_once_and_leaves_its_records() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    room.bundle("ended", "exit 3").run(&shim).await;
    shim.wait("ended").await.expect("its end");
    room.bundle("runs", "sleep 100").run(&shim).await;
    let (_reader, stdout) = support::pipe();
    let streams = Descriptors { stdout: Some(stdout), ..Descriptors::default() };
    let mut added =
        shim.exec("runs", "e", support::process("sleep 100"), streams).await.expect("added");
    let mut events = shim.events();
    let again = Shim::spawn(&room.spawn_of()).await.expect_err("one runs");
    assert_eq!(again.kind, Kind::AlreadyExists);
    let began = Instant::now();
    support::kill(shim_pid(shim.dir()).expect("the shim"));
    assert_eq!(added.wait().await.expect_err("nobody tells").kind, Kind::Unavailable);
    assert!(events.next().await.is_none());
    assert_eq!(shim.list().await.expect_err("gone").kind, Kind::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(2) && !shim.is_alive());
    let exits = shim_client::exits(shim.dir()).expect("records");
    assert_eq!(
        exits.iter().map(|exit| (exit.id.as_str(), exit.code)).collect::<Vec<_>>(),
        [("ended", 3)]
    );
    // What is left of the containers: a runtime of the same state root ends it.
    let runtime = oci::Runtime {
        root: shim.dir().join("oci"),
        cgroups: Some(oci::Driver::Cgroupfs),
        rootless: false,
    };
    for id in runtime.list().expect("containers") {
        runtime.delete(&id, true).expect("removed");
    }
    let next = room.spawn().await;
    assert!(next.list().await.expect("a new one").is_empty());
    next.shutdown(false).await.expect("ended");
}

/// A daemon of another release, by hand.
struct Other {
    socket: UnixStream,
    incoming: Incoming,
}

impl Other {
    fn connect(room: &Room) -> Other {
        let socket = UnixStream::connect(room.shim_dir().join(SOCKET)).expect("a connection");
        Other { socket, incoming: Incoming::default() }
    }

    fn ask(&mut self, request: &serde_json::Value) -> Result<Answer, shim_client::Error> {
        let bytes = frame::encode(request).expect("a frame");
        Outgoing::new(bytes, Vec::new()).send(&self.socket).expect("sent");
        let until = Instant::now() + support::PATIENCE;
        loop {
            assert!(Instant::now() < until, "no answer to {request}");
            match self.incoming.receive(&self.socket) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                other => assert!(other.expect("the connection"), "it was closed"),
            }
            if let Some(Message::Reply(reply)) = self.incoming.take().expect("a message") {
                return reply.result;
            }
        }
    }
}

#[tokio::test]
async fn daemons_of_other_releases_are_understood_or_told() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let mut later = Other::connect(&room);
    let early = later.ask(&serde_json::json!({"id": 1, "call": {"op": "list"}}));
    assert_eq!(early.expect_err("no greeting").kind, Kind::Precondition);
    let hello = serde_json::json!({"id": 2, "more": 1,
        "call": {"op": "hello", "versions": [9, 1], "later": true}});
    let Ok(Answer::Shim(about)) = later.ask(&hello) else { panic!("no greeting") };
    assert_eq!(about.version, 1);
    let unknown = later.ask(&serde_json::json!({"id": 3, "call": {"op": "later_thing"}}));
    assert_eq!(unknown.expect_err("not known").kind, Kind::Unsupported);
    let list = later.ask(&serde_json::json!({"id": 4, "call": {"op": "list", "later": []}}));
    assert_eq!(list, Ok(Answer::Containers(Vec::new())));

    let mut too_late = Other::connect(&room);
    let hello = serde_json::json!({"id": 1, "call": {"op": "hello", "versions": [9]}});
    assert_eq!(too_late.ask(&hello).expect_err("nothing in common").kind, Kind::Unsupported);

    // Nonsense ends that connection and nothing else.
    let mut broken = UnixStream::connect(room.shim_dir().join(SOCKET)).expect("a connection");
    broken.write_all(&[0xff; 64]).expect("sent");
    broken.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    assert_eq!(std::io::Read::read(&mut broken, &mut [0; 8]).expect("closed"), 0);
    assert!(shim.list().await.is_ok());
    let request = Request::new(1, 2, &Call::List).expect("a request");
    let mut liar = Other::connect(&room);
    let bytes = frame::encode(&request).expect("a frame");
    Outgoing::new(bytes, Vec::new()).send(&liar.socket).expect("sent");
    liar.socket.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    assert_eq!(std::io::Read::read(&mut liar.socket, &mut [0; 8]).expect("closed"), 0);
    shim.shutdown(false).await.expect("ended");
}

#[tokio::test]
async fn a_hundred_processes_at_once() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    room.bundle("c", "sleep 100").run(&shim).await;
    let all = (0..100).map(|number| {
        let shim = shim.clone();
        tokio::spawn(async move {
            let name = format!("e{number}");
            let (text, code) =
                exec(&shim, "c", &name, &format!("echo {number}; exit {number}")).await;
            assert_eq!((text, code), (format!("{number}\n"), number));
        })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.expect("a process");
    }
    assert!(shim.state("c").await.expect("state").execs.is_empty());
    let pid = shim.about().pid;
    lab::until("nothing is left of them", support::PATIENCE, || {
        let count = |name| std::fs::read_dir(format!("/proc/{pid}/{name}")).expect("/proc").count();
        count("task") <= 3 && count("fd") < 40
    });
    let zombies = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    assert_eq!(zombies.expect("children").split_whitespace().count(), 1, "the container alone");
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn a_shim_that_cannot_start_says_why() {
    let Some(room) = Room::new() else { return };
    let mut spawn = room.spawn_of();
    spawn.cgroup = Some("/nothing/of/the/kind".into());
    let error = Shim::spawn(&spawn).await.expect_err("no such group");
    assert!(error.cause.contains("/nothing/of/the/kind/cgroup.procs"), "{error}");
    spawn.cgroup = None;
    spawn.program = "/nothing/podloom-shim".into();
    assert!(Shim::spawn(&spawn).await.is_err());
}
