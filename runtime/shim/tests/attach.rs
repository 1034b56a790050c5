//! Clients that are attached, terminals, input.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod support;

use serde_json::json;
use shim_client::protocol::{Size, Whom};
use shim_client::{Descriptors, Kind};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use support::{Room, pipe};

/// A client's own end, and the one to hand over.
fn pair() -> (UnixStream, OwnedFd) {
    let (mine, theirs) = UnixStream::pair().expect("a pair");
    mine.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    (mine, theirs.into())
}

/// Reads until a text has come.
fn read_until(from: &mut impl Read, wanted: &str) -> String {
    let (mut text, mut piece) = (String::new(), [0; 1024]);
    while !text.contains(wanted) {
        let read = from.read(&mut piece).expect("output");
        assert!(read > 0, "it ended without {wanted:?}: {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    text
}

#[tokio::test]
async fn clients_see_output_and_give_input() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let bundle = room.bundle("c", "while read line; do echo got $line; echo e $line >&2; done");
    let mut create = bundle.create();
    create.stdio.stdin = true;
    shim.create(&create).await.expect("a container");
    let ((mut input, stdin), (mut output, stdout), (mut errors, stderr)) = (pair(), pair(), pair());
    let (mut other, other_end) = pair();
    let streams = Descriptors { stdin: Some(stdin), stdout: Some(stdout), stderr: Some(stderr) };
    shim.attach("c", streams).await.expect("attached");
    let second = Descriptors { stdout: Some(other_end), ..Descriptors::default() };
    shim.attach("c", second).await.expect("attached");
    shim.start("c").await.expect("started");
    input.write_all(b"hello\n").expect("typed");
    assert_eq!(read_until(&mut output, "\n"), "got hello\n");
    assert_eq!(read_until(&mut errors, "\n"), "e hello\n");
    assert_eq!(read_until(&mut other, "\n"), "got hello\n");
    // A client that goes leaves the input open for the next one.
    drop((input, output, errors));
    let ((mut input, stdin), (mut output, stdout)) = (pair(), pair());
    let streams = Descriptors { stdin: Some(stdin), stdout: Some(stdout), stderr: None };
    shim.attach("c", streams).await.expect("attached again");
    input.write_all(b"again\n").expect("typed");
    assert_eq!(read_until(&mut output, "\n"), "got again\n");
    shim.close_stdin("c").await.expect("closed");
    assert_eq!(shim.wait("c").await.expect("its end").code, 0);
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("the end of the output");
    other.read_to_string(&mut rest).expect("the end of the output");
    assert_eq!(rest, "got again\n", "the second client's");
    let late = Descriptors { stdout: Some(pair().1), ..Descriptors::default() };
    assert_eq!(shim.attach("c", late).await.expect_err("it ended").kind, Kind::Precondition);
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn the_first_client_ends_an_input_that_is_open_once() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let bundle = room.bundle("c", "cat; exit 6");
    let mut create = bundle.create();
    (create.stdio.stdin, create.stdio.stdin_once) = (true, true);
    shim.create(&create).await.expect("a container");
    shim.start("c").await.expect("started");
    let (mut input, stdin) = pair();
    shim.attach("c", Descriptors { stdin: Some(stdin), ..Descriptors::default() })
        .await
        .expect("attached");
    let text = vec![b'x'; 300_000];
    input.write_all(&text).expect("typed");
    drop(input);
    assert_eq!(shim.wait("c").await.expect("its end").code, 6);
    let logged: usize = bundle.lines().iter().map(|line| line.len() - "stdout P ".len()).sum();
    assert_eq!(logged, text.len());
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_the_log_is_whole() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let bundle = room.bundle("c", "seq 1 300000");
    shim.create(&bundle.create()).await.expect("a container");
    let ((mut slow, slow_end), (mut fast, fast_end)) = (pair(), pair());
    for end in [slow_end, fast_end] {
        let streams = Descriptors { stdout: Some(end), ..Descriptors::default() };
        shim.attach("c", streams).await.expect("attached");
    }
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        fast.read_to_end(&mut text).expect("output");
        text
    });
    let began = Instant::now();
    shim.start("c").await.expect("started");
    shim.wait("c").await.expect("its end");
    let took = began.elapsed();
    assert!(took > Duration::from_secs(1), "it is given time to read: {took:?}");
    assert!(took < Duration::from_secs(10), "but not for ever: {took:?}");
    let whole: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(reader.join().expect("output").len(), whole.len());
    assert_eq!(bundle.lines().len(), 300_000);
    let mut text = Vec::new();
    slow.read_to_end(&mut text).expect("what was kept for it");
    assert!(whole.as_bytes().starts_with(&text) && text.len() < whole.len());
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn a_terminal_is_one_stream_and_has_a_size() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let mut bundle = room.bundle("c", "tty; read line; echo got $line; stty size; echo e >&2");
    bundle.set("/process/terminal", json!(true));
    bundle.set("/process/consoleSize", json!({"width": 80, "height": 25}));
    let mut create = bundle.create();
    create.stdio.stdin = true;
    shim.create(&create).await.expect("a container");
    let ((mut input, stdin), (mut output, stdout)) = (pair(), pair());
    let streams = Descriptors { stdin: Some(stdin), stdout: Some(stdout), stderr: None };
    shim.attach("c", streams).await.expect("attached");
    shim.start("c").await.expect("started");
    read_until(&mut output, "/dev/");
    shim.resize("c", Size { width: 132, height: 43 }).await.expect("resized");
    input.write_all(b"hello\n").expect("typed");
    let text = read_until(&mut output, "e\r\n");
    assert!(text.contains("got hello\r\n") && text.contains("43 132\r\n"), "{text:?}");
    assert_eq!(shim.wait("c").await.expect("its end").code, 0);
    assert!(bundle.lines().contains(&"stdout F got hello\r".to_owned()), "{:?}", bundle.lines());
    assert!(shim.resize("c", Size { width: 1, height: 1 }).await.is_err());
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn an_added_process_hands_its_terminal_over() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    room.bundle("c", "sleep 100").run(&shim).await;
    let mut process = support::process("tty && stty size && exec sleep 100");
    process["terminal"] = json!(true);
    let made = shim.exec("c", "e", process, Descriptors::default()).await;
    let mut made = made.expect("a process");
    let terminal = made.terminal.take().expect("a terminal");
    shim_client::resize(&terminal, Size { width: 99, height: 33 }).expect("resized");
    let mut terminal = std::fs::File::from(terminal);
    assert!(read_until(&mut terminal, "\r\n").starts_with("/dev/"), "carriage returns");
    // Nobody else has it: closing it hangs up.
    drop(terminal);
    let end = tokio::time::timeout(support::PATIENCE, made.wait()).await.expect("in time");
    assert_eq!(end.expect("its end").signal, Some(1));
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn nothing_of_one_process_keeps_the_streams_of_another_open() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    room.bundle("c", "sleep 100").run(&shim).await;
    let (mut reader, stdout) = pipe();
    let streams = Descriptors { stdout: Some(stdout), ..Descriptors::default() };
    let long = shim.exec("c", "long", support::process("sleep 0.3; echo x"), streams).await;
    let mut made = long.expect("a process");
    // Made while the other runs, and waiting to be started for ever.
    for id in ["d", "e"] {
        shim.create(&room.bundle(id, "true").create()).await.expect("a container");
    }
    made.wait().await.expect("its end");
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("the end of the output");
    assert_eq!(text, "x\n");
    shim.kill("d", 9, Whom::First).await.expect("killed");
    assert_eq!(shim.wait("d").await.expect("its end").signal, Some(9));
    shim.shutdown(true).await.expect("ended");
}
