//! Commands in containers, streams, logs.

use crate::stage::{SOON, Stage, assert_kind, node_dir, script, waiting};
use container::{Attach, Exec, Kind, Reader};
use std::fs;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn sh(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

async fn all(reader: Option<Reader>) -> String {
    let mut text = Vec::new();
    let mut reader = reader.expect("a stream");
    tokio::time::timeout(SOON, reader.read_to_end(&mut text)).await.expect("an end").expect("read");
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn commands_answer_and_are_bounded() {
    let stage = Stage::new("c-execsync");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("exec").await;
        let id = node.start(&pod, waiting("c")).await;
        let run = |script: &str, limit: u64| {
            let limit = Some(Duration::from_millis(limit));
            node.containers.exec_sync(&id, sh(script), limit)
        };
        let said = run("echo out; echo err >&2; exit 3", 20_000).await.expect("exec");
        assert_eq!(
            (said.stdout.as_slice(), said.stderr.as_slice()),
            (&b"out\n"[..], &b"err\n"[..])
        );
        assert_eq!((said.exit_code, said.dropped), (3, 0));
        let begun = Instant::now();
        assert_kind(run("sleep 30", 300).await, Kind::Deadline);
        assert!(begun.elapsed() < Duration::from_secs(5));
        let left = node.sh(&id, "ps | grep -c '[s]leep 30' || true").await;
        assert_eq!(left, "0", "it was killed");
        let much = run("yes 0123456789abcdef | head -c 20000000", 20_000).await.expect("exec");
        assert_eq!(much.stdout.len(), (16 << 20) - 4096);
        assert_eq!(much.dropped, 20_000_000 - much.stdout.len() as u64);
        let begun = Instant::now();
        let left = run("echo here; sleep 60 & exit 4", 20_000).await.expect("exec");
        assert_eq!((left.stdout.as_slice(), left.exit_code), (&b"here\n"[..], 4));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let none = node.containers.exec_sync(&id, vec!["/no/such".to_owned()], None).await;
        let e = none.expect_err("no program");
        assert!(e.to_string().contains("/no/such"), "{e}");
        assert_kind(node.containers.exec_sync(&id, Vec::new(), None).await, Kind::Invalid);
        node.containers.stop(&id, Duration::ZERO).await.expect("stop");
        assert_kind(run("true", 1000).await, Kind::Precondition);
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn a_caller_who_goes_away_ends_the_command() {
    let stage = Stage::new("c-cancel");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("cancel").await;
        let id = node.start(&pod, waiting("c")).await;
        let gone = node.containers.exec_sync(&id, sh("exec sleep 77"), None);
        assert!(tokio::time::timeout(Duration::from_millis(500), gone).await.is_err());
        let begun = Instant::now();
        while node.sh(&id, "ps | grep -c '[s]leep 77' || true").await != "0" {
            assert!(begun.elapsed() < SOON);
        }
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn streams_of_added_processes() {
    let stage = Stage::new("c-exec");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("exec").await;
        let id = node.start(&pod, waiting("c")).await;
        let exec = Exec { command: sh("cat; echo done >&2; exit 5"), ..Exec::default() };
        let exec = Exec { stdin: true, stdout: true, stderr: true, ..exec };
        let mut process = node.containers.exec(&id, exec).await.expect("exec");
        let mut input = process.stdin.take().expect("input");
        input.write_all(b"hello\n").await.expect("write");
        drop(input);
        assert_eq!(all(process.stdout.take()).await, "hello\n");
        assert_eq!(all(process.stderr.take()).await, "done\n");
        assert_eq!(process.exit.await.expect("exit"), 5);
        let terminal = Exec { terminal: true, stdin: true, stdout: true, ..Exec::default() };
        let exec = Exec { command: sh("read x; stty size; echo got $x; exit 6"), ..terminal };
        let mut process = node.containers.exec(&id, exec).await.expect("exec");
        let resize = process.resize.take().expect("a terminal");
        resize.resize(container::Size { width: 91, height: 37 }).await.expect("resize");
        let mut input = process.stdin.take().expect("input");
        input.write_all(b"typed\n").await.expect("write");
        let shown = all(process.stdout.take()).await;
        assert!(shown.contains("37 91") && shown.contains("got typed"), "{shown}");
        assert_eq!(process.exit.await.expect("exit"), 6);
        let exec = Exec { command: sh("exec sleep 60"), stdout: true, ..Exec::default() };
        let process = node.containers.exec(&id, exec).await.expect("exec");
        (process.kill)().await.expect("kill");
        assert_eq!(process.exit.await.expect("exit"), 137);
        (process.kill)().await.expect("kill again");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn attaching_reads_and_writes_and_stdin_ends_once() {
    let stage = Stage::new("c-attach");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("attach").await;
        let mut config = script("c", "cat; echo end");
        (config.stdin, config.stdin_once) = (true, true);
        let id = node.start(&pod, config).await;
        let attach = Attach { stdin: true, stdout: true, stderr: true };
        let mut process = node.containers.attach(&id, attach).await.expect("attach");
        let mut input = process.stdin.take().expect("input");
        input.write_all(b"hello\n").await.expect("write");
        drop(input);
        assert_eq!(all(process.stdout.take()).await, "hello\nend\n");
        assert_eq!(process.exit.await.expect("exit"), 0);
        assert_kind(node.containers.attach(&id, attach).await, Kind::Precondition);
        let mut config = script("terminal", "read x; stty size; echo got $x");
        (config.stdin, config.tty) = (true, true);
        let id = node.start(&pod, config).await;
        let mut process = node.containers.attach(&id, attach).await.expect("attach");
        let size = container::Size { width: 91, height: 37 };
        process.resize.take().expect("a terminal").resize(size).await.expect("resize");
        process.stdin.as_mut().expect("input").write_all(b"typed\n").await.expect("write");
        let shown = all(process.stdout.take()).await;
        assert!(shown.contains("37 91") && shown.contains("got typed"), "{shown}");
        assert!(process.stderr.is_none());
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn logs_are_written_and_rotated() {
    let stage = Stage::new("c-logs");
    let logs = node_dir(&stage, "logs");
    stage.run(async {
        let node = stage.open().await;
        let mut config = crate::stage::pod("logs");
        config.log_directory = logs.to_string_lossy().into_owned();
        let pod = node.pods.run(config, "").await.expect("pod");
        let numbers = "i=0; while test $i -lt 400; do echo line $i; i=$((i+1)); sleep 0.005; done";
        let mut config = script("c", numbers);
        config.log_path = "c/0.log".to_owned();
        let id = node.start(&pod, config).await;
        let path = node.containers.get(&id).expect("container").log_path().expect("log").to_owned();
        assert_eq!(path, logs.join("c/0.log"));
        for turn in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            fs::rename(&path, logs.join(format!("c/0.log.{turn}"))).expect("rename");
            node.containers.reopen_log(&id).await.expect("reopen");
        }
        assert_eq!(node.ended(&id).await.0, 0);
        let mut text: String = (0..5)
            .map(|turn| fs::read_to_string(logs.join(format!("c/0.log.{turn}"))).expect("log"))
            .collect();
        text += &fs::read_to_string(&path).expect("log");
        let lines: Vec<_> = text.lines().map(|l| l.splitn(4, ' ').collect::<Vec<_>>()).collect();
        assert_eq!(lines.len(), 400, "no line is lost");
        for (at, line) in lines.iter().enumerate() {
            assert_eq!((line[1], line[2], line[3]), ("stdout", "F", format!("line {at}").as_str()));
        }
        for wrong in ["../x", "/etc/x"] {
            let mut config = script("w", "true");
            config.log_path = wrong.to_owned();
            assert_eq!(node.refused(&pod, config).await.kind(), Kind::Invalid, "{wrong}");
        }
        node.remove(&pod).await;
        assert!(path.exists(), "the log stays");
    });
    stage.assert_clean();
}
