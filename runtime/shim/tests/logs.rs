//! Logs: whole lines, none lost, whatever happens meanwhile.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod support;

use shim_client::protocol::Log;
use std::time::Duration;
use support::{Room, lines};

#[tokio::test]
async fn lines_are_logged_with_parts_of_long_ones() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let long = "head -c 40000 /dev/zero | tr '\\0' x";
    let bundle = room.bundle("c", &format!("echo one; {long}; echo; echo e >&2; printf 'no end'"));
    bundle.run(&shim).await;
    shim.wait("c").await.expect("its end");
    let out: Vec<String> =
        bundle.lines().into_iter().filter(|line| line.starts_with("stdout")).collect();
    let x = |n| "x".repeat(n);
    let want = [
        "stdout F one".to_owned(),
        format!("stdout P {}", x(16384)),
        format!("stdout P {}", x(16384)),
        format!("stdout F {}", x(40000 - 2 * 16384)),
        "stdout F no end".to_owned(),
    ];
    assert_eq!(out, want);
    assert!(bundle.lines().contains(&"stderr F e".to_owned()));
    let text = std::fs::read_to_string(&bundle.log).expect("a log");
    let time = text.split(' ').next().expect("a time");
    assert_eq!((time.len(), time.as_bytes()[10], time.as_bytes()[29]), (30, b'T', b'Z'), "{time}");
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn rotation_under_load_loses_no_line() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let bundle = room.bundle("c", "seq 1 200000; seq 200001 400000 >&2");
    bundle.run(&shim).await;
    let mut old = Vec::new();
    for number in 0..20 {
        let path = bundle.log.with_extension(number.to_string());
        std::fs::rename(&bundle.log, &path).expect("renamed");
        shim.reopen_log("c").await.expect("reopened");
        old.push(path);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shim.wait("c").await.expect("its end");
    old.push(bundle.log.clone());
    let all = old.iter().flat_map(|path| lines(path));
    let numbers: Vec<u32> =
        all.map(|line| line.split(' ').nth(2).expect("text").parse().expect("a number")).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted.len(), 400_000);
    assert!(sorted.iter().zip(1..).all(|(number, want)| *number == want), "none twice");
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn a_full_log_does_not_stop_the_container() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let bundle = room.bundle("c", "seq 1 100000; exit 5");
    let mut create = bundle.create();
    create.stdio.log = Some(Log { path: bundle.log.clone(), max_bytes: 4096, max_rate: 0 });
    shim.create(&create).await.expect("a container");
    shim.start("c").await.expect("started");
    assert_eq!(shim.wait("c").await.expect("its end").code, 5);
    assert!(std::fs::metadata(&bundle.log).expect("a log").len() <= 4096);
    assert!(shim.state("c").await.expect("state").log_lost > 100_000);
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn a_container_that_writes_more_than_it_may_is_held_back() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    // Twice what a pipe holds, and then some.
    let bundle = room.bundle("c", "seq 1 50000");
    let mut create = bundle.create();
    create.stdio.log = Some(Log { path: bundle.log.clone(), max_bytes: 0, max_rate: 65536 });
    shim.create(&create).await.expect("a container");
    let began = std::time::Instant::now();
    shim.start("c").await.expect("started");
    shim.wait("c").await.expect("its end");
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(bundle.lines().len(), 50_000, "nothing is lost by it");
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn a_log_that_cannot_be_made_is_told_before_there_is_a_container() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let bundle = room.bundle("c", "true");
    let mut create = bundle.create();
    create.stdio.log = Some(Log { path: "/proc/nothing/x.log".into(), ..Log::default() });
    let error = shim.create(&create).await.expect_err("no log");
    assert!(error.subject.contains("/proc/nothing"), "{error}");
    assert!(shim.list().await.expect("list").is_empty());
    bundle.run(&shim).await;
    shim.wait("c").await.expect("its end");
    shim.shutdown(true).await.expect("ended");
}
