//! Plugins that hang, fail, lie or are missing; configurations that come and go.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod stage;

use sandbox::{Kind, State};
use serde_json::json;
use stage::{Stage, pod};
use std::fs;
use std::time::{Duration, Instant};

/// A result that a plugin may print.
const RESULT: &str = r#"echo '{"cniVersion":"1.1.0","ips":[{"address":"10.88.0.9/16"}]}'"#;

fn chain(stage: &Stage, last: &str) -> serde_json::Value {
    let mut list = stage.network("podnet", "10.88.0.0/16");
    list["plugins"].as_array_mut().expect("plugins").push(json!({"type": last}));
    list
}

/// A plugin that does `add` on ADD and `del` on DEL, and passes the result on.
fn scripted(add: &str, del: &str) -> String {
    format!("case $CNI_COMMAND in ADD) {add};; DEL) {del};; esac\nexit 0")
}

const FAIL: &str = r#"echo '{"code":11,"msg":"not today","details":"ask tomorrow"}'; exit 1"#;

#[test]
fn a_hanging_plugin_blocks_its_pod_alone() {
    let mut stage = Stage::new("hang");
    stage.settings.networks.call_deadline = Duration::from_secs(5);
    stage.settings.join_deadline = Duration::from_millis(300);
    let hang = r#"case "$CNI_ARGS" in *K8S_POD_NAME=slow*) sleep 100;; *) ;; esac"#;
    stage.script("hang", &scripted(&format!("{hang}; {RESULT}"), "true"));
    stage.write_network("10-podnet.conflist", &chain(&stage, "hang"));
    let before = stage.snapshot();
    stage.run(async {
        let (pods, _) = stage.open().await;
        let first = pods.clone();
        let slow = tokio::spawn(async move { first.run(pod("slow"), "").await });
        while stage.leases().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Others go on, and so does all that concerns the node.
        let begin = Instant::now();
        let id = pods.run(pod("quick"), "").await.expect("another pod");
        pods.network_status().await.expect("status");
        pods.remove(&id).await.expect("remove");
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        let e = pods.run(pod("slow"), "").await.expect_err("joined");
        assert_eq!(e.kind(), Kind::Deadline, "{e}");
        for part in ["CNI ADD hang", "podnet", "waiting"] {
            assert!(e.to_string().contains(part), "{part}: {e}");
        }
        let e = slow.await.expect("task").expect_err("the plugin hangs");
        assert_eq!(e.kind(), Kind::Deadline, "{e}");
        for part in ["default/slow", "hang", "ADD", "5 s"] {
            assert!(e.to_string().contains(part), "{part}: {e}");
        }
        assert!(pods.list().is_empty(), "undone");
    });
    stage.assert_clean(&before);
}

#[test]
fn what_plugins_do_wrong_is_undone_and_told() {
    let stage = Stage::new("wrong");
    let cases = [
        ("fails after the others succeeded", FAIL, Kind::Unavailable, "not today"),
        ("prints rubbish", "echo rubbish", Kind::Internal, "last"),
        ("prints nothing", "true", Kind::Internal, "no result"),
        ("prints too much", "yes | head -c 5000000", Kind::Internal, "last"),
        ("dies", "kill -9 $$", Kind::Internal, "last"),
        ("gives no address", r#"echo '{"cniVersion":"1.1.0"}'"#, Kind::Internal, "no address"),
        ("gives a bad address", r#"echo '{"ips":[{"address":"x"}]}'"#, Kind::Internal, "last"),
    ];
    stage.own_plugins();
    stage.write_network("10-podnet.conflist", &chain(&stage, "last"));
    let before = stage.snapshot();
    for (what, add, kind, says) in cases {
        stage.script("last", &scripted(add, "true"));
        stage.run(async {
            let (pods, _) = stage.open().await;
            let e = pods.run(pod("p"), "").await.expect_err(what);
            assert_eq!(e.kind(), kind, "{what}: {e}");
            assert!(e.to_string().contains(says), "{what}: {e}");
            assert!(pods.list().is_empty(), "{what}: undone");
            pods.drain().await;
        });
        stage.assert_clean(&before);
    }
    fs::remove_file(stage.lab.root().join("bin/last")).expect("remove");
    stage.run(async {
        let (pods, _) = stage.open().await;
        let e = pods.run(pod("p"), "").await.expect_err("no such plugin");
        assert_eq!(e.kind(), Kind::Unavailable, "{e}");
        assert!(e.to_string().contains("last"), "{e}");
        assert!(pods.list().is_empty(), "what was never called has nothing to undo: {e}");
    });
    stage.assert_clean(&before);
    stage.script("last", &scripted(RESULT, "true"));
    stage.run(async {
        let (pods, _) = stage.open().await;
        let id = pods.run(pod("p"), "").await.expect("a plugin that works");
        pods.remove(&id).await.expect("remove");
    });
    stage.assert_clean(&before);
}

#[test]
fn a_failing_del_keeps_the_pod_until_it_succeeds() {
    let stage = Stage::new("del");
    stage.script("last", &scripted(RESULT, FAIL));
    stage.write_network("10-podnet.conflist", &chain(&stage, "last"));
    let before = stage.snapshot();
    let id = stage.run(async {
        let (pods, _) = stage.open().await;
        let id = pods.run(pod("p"), "").await.expect("run");
        for _ in 0..2 {
            let e = pods.stop(&id).await.expect_err("DEL fails");
            assert!(e.to_string().contains("last"), "{e}");
            assert!(e.to_string().contains("not today"), "{e}");
        }
        let e = pods.remove(&id).await.expect_err("not stopped");
        assert_eq!(e.kind(), Kind::Unavailable, "{e}");
        let sandbox = pods.get(&id).expect("listed");
        assert_eq!(sandbox.state(), State::NotReady);
        assert!(sandbox.namespaces().net.as_ref().expect("own").exists(), "kept for the plugin");
        id
    });
    assert_eq!(lab::shims(stage.lab.root()), Vec::<i32>::new());
    // The configuration goes, the next process comes: the record has all that DEL needs.
    fs::remove_dir_all(stage.lab.conf_dir()).expect("net.d");
    stage.script("last", &scripted(RESULT, "true"));
    stage.run(async {
        let (pods, recovered) = stage.open().await;
        assert_eq!(recovered.not_ready, [id.as_str()]);
        pods.stop(&id).await.expect("stop");
        pods.remove(&id).await.expect("remove");
    });
    stage.assert_clean(&before);
}

#[test]
fn a_pod_that_cannot_be_undone_is_listed_until_it_is_removed() {
    let stage = Stage::new("undone");
    stage.script("last", &scripted(FAIL, FAIL));
    stage.write_network("10-podnet.conflist", &chain(&stage, "last"));
    let before = stage.snapshot();
    stage.run(async {
        let (pods, _) = stage.open().await;
        let e = pods.run(pod("p"), "").await.expect_err("ADD and DEL fail");
        assert!(!e.also().is_empty(), "tells of the undoing: {e}");
        let listed = pods.list();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].state(), State::NotReady);
        assert!(listed[0].reason().contains("not today"), "{}", listed[0].reason());
        let e = pods.run(pod("p"), "").await.expect_err("the name is taken");
        assert_eq!(e.kind(), Kind::AlreadyExists, "{e}");
    });
    stage.script("last", &scripted(RESULT, "true"));
    stage.run(async {
        let (pods, recovered) = stage.open().await;
        assert_eq!(recovered.not_ready.len(), 1, "{recovered:?}");
        pods.remove(&recovered.not_ready[0]).await.expect("remove");
    });
    stage.assert_clean(&before);
}

#[test]
fn the_configuration_directory_may_go_and_come() {
    let stage = Stage::new("net.d");
    let before = stage.snapshot();
    stage.run(async {
        let (pods, _) = stage.open().await;
        let id = pods.run(pod("early"), "").await.expect("run");
        fs::remove_dir_all(stage.lab.conf_dir()).expect("net.d");
        let e = pods.network_status().await.expect_err("no network");
        assert_eq!(e.kind(), Kind::Unavailable, "{e}");
        let e = pods.run(pod("p"), "").await.expect_err("no network");
        assert_eq!(e.kind(), Kind::Unavailable, "{e}");
        pods.remove(&id).await.expect("pods of a lost configuration can be removed");
        stage.write_network("50-a.conflist", &stage.network("a", "10.88.0.0/16"));
        pods.network_status().await.expect("ready again");
        let id = pods.run(pod("p"), "").await.expect("run");
        assert_eq!(pods.get(&id).expect("pod").network().attachments[0].network, "a");
        fs::write(stage.lab.conf_dir().join("40-broken.conflist"), "{").expect("write");
        pods.network_status().await.expect("a broken file is passed over");
        stage.write_network("10-b.conflist", &stage.network("b", "10.88.0.0/16"));
        let other = pods.run(pod("q"), "").await.expect("run");
        assert_eq!(pods.get(&other).expect("pod").network().attachments[0].network, "b");
        for id in [id, other] {
            pods.remove(&id).await.expect("remove");
        }
    });
    stage.assert_clean(&before);
}

#[test]
fn a_status_that_hangs_or_fails_is_told_quickly() {
    let stage = Stage::new("status");
    stage.script("last", "case $CNI_COMMAND in STATUS) sleep 100;; esac; exit 0");
    stage.write_network("10-podnet.conflist", &chain(&stage, "last"));
    stage.run(async {
        let (pods, _) = stage.open().await;
        let begin = Instant::now();
        let e = pods.network_status().await.expect_err("it hangs");
        assert!(e.to_string().contains("STATUS"), "{e}");
        assert!(begin.elapsed() < Duration::from_secs(4));
    });
    stage.script(
        "last",
        "case $CNI_COMMAND in STATUS) echo '{\"code\":50,\"msg\":\"warming up\"}'; exit 1;; esac",
    );
    stage.run(async {
        let (pods, _) = stage.open().await;
        let e = pods.network_status().await.expect_err("not ready");
        assert!(e.to_string().contains("warming up"), "{e}");
    });
}

#[test]
fn fifty_pods_at_once() {
    let stage = Stage::new("fifty");
    let before = stage.snapshot();
    stage.run(async {
        let (pods, _) = stage.open().await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..50 {
            let pods = pods.clone();
            tasks.spawn(async move { pods.run(pod(&format!("p{number}")), "").await });
        }
        let ids: Vec<_> = tasks.join_all().await.into_iter().map(|r| r.expect("run")).collect();
        let mut ips: Vec<_> =
            pods.list().iter().map(|pod| pod.network().ips[0].to_string()).collect();
        ips.sort();
        ips.dedup();
        assert_eq!(ips.len(), 50, "each its own address");
        let mut tasks = tokio::task::JoinSet::new();
        for id in ids {
            let pods = pods.clone();
            tasks.spawn(async move {
                pods.stop(&id).await?;
                pods.remove(&id).await
            });
        }
        tasks.join_all().await.into_iter().for_each(|r| r.expect("remove"));
        assert!(pods.list().is_empty());
    });
    stage.assert_clean(&before);
}
