//! SIGKILL at every system call of every verb that changes something.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use serde_json::json;
use stage::{Stage, command, finish, ours, reference, start};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

fn has_strace() -> bool {
    let probe = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let works = probe.is_ok_and(|status| status.success());
    if !works {
        lab::skip("strace is missing or may not trace");
    }
    works
}

/// A command under strace.
fn traced(verb: &str, id: &str, options: &[String], log: &Path) -> Command {
    let plain = command(&ours(), verb, id);
    let mut traced = Command::new("strace");
    traced.arg("-f").arg("-o").arg(log).args(options).arg(ours()).env_clear();
    for (key, value) in plain.get_envs() {
        if let Some(value) = value {
            traced.env(key, value);
        }
    }
    traced
}

/// How often each system call is made from the first on that opens the data directory.
fn calls(
    stage: &Stage,
    (verb, id): (&str, &str),
    also: &[String],
    conf: &serde_json::Value,
) -> BTreeMap<String, (u32, u32)> {
    let log = stage.data.join("strace.log");
    finish(start(&mut traced(verb, id, also, &log), conf)).expect(verb);
    let text = std::fs::read_to_string(&log).expect("strace.log");
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut begun = false;
    for line in text.lines() {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        let Some((name, _)) = call.split_once('(') else { continue };
        begun |= line.contains(&format!("\"{}\"", stage.data.display()));
        let count = counts.entry(name.to_owned()).or_default();
        count.1 += 1;
        if !begun {
            count.0 = count.1;
        }
    }
    assert!(begun, "the data directory was not opened: {text}");
    counts
}

/// Prepares a stage, kills `verb` at each of its system calls in turn, and lets `verify` look.
fn sweep(
    (verb, also): (&str, &[&str]),
    conf: &dyn Fn(&Stage) -> serde_json::Value,
    verify: &dyn Fn(&Stage),
) -> u32 {
    let also: Vec<String> = also.iter().map(|option| (*option).to_owned()).collect();
    let prepared = || {
        let stage = Stage::new(json!([[{"subnet": "10.7.0.0/28"}], [{"subnet": "fd07::/124"}]]));
        for id in ["a", "b", "gone"] {
            stage.add(&ours(), id).expect("ADD");
        }
        stage.del(&ours(), "gone").expect("DEL");
        stage
    };
    let stage = prepared();
    let id = if verb == "GC" {
        ""
    } else if verb == "ADD" {
        "new"
    } else {
        "a"
    };
    let mut killed = 0;
    for (name, (before, all)) in calls(&stage, (verb, id), &also, &conf(&stage)) {
        for nth in before + 1..=all {
            let stage = prepared();
            let kill = ["-e".to_owned(), format!("inject={name}:signal=KILL:when={nth}")];
            let inject: Vec<_> = also.iter().chain(&kill).cloned().collect();
            let log = stage.data.join("strace.log");
            let answer = finish(start(&mut traced(verb, id, &inject, &log), &conf(&stage)));
            killed += u32::from(!answer.ok);
            std::fs::remove_file(&log).expect("strace.log");
            verify(&stage);
        }
    }
    killed
}

/// What must hold whatever was killed: every lease is whole, and the plugin goes on.
fn sound(stage: &Stage) {
    for (name, text) in stage.leases() {
        if name != ".podloom-new-lease" {
            assert!(text.ends_with("\r\neth0"), "{name} holds {text:?}");
        }
    }
    stage.del(&ours(), "nobody").expect("DEL");
    for (name, _) in stage.leases() {
        assert!(name.parse::<std::net::IpAddr>().is_ok(), "{name} is left");
    }
}

/// Owners of all leases; of a lease in the making, which is none yet, nothing.
fn owners(stage: &Stage) -> Vec<String> {
    let leases = stage.leases().into_iter().filter(|(name, _)| name != ".podloom-new-lease");
    let mut owners: Vec<_> = leases.map(|(_, text)| text.replace("\r\neth0", "")).collect();
    owners.sort();
    owners
}

/// All remaining addresses can be given out, each once, and all can be taken back.
fn exhaust(stage: &Stage) {
    let used = stage.leases().len() / 2;
    for n in 0..13 - used {
        stage.add(&ours(), &format!("fill{n}")).expect("an address is free");
    }
    let full = stage.add(&ours(), "over");
    assert_eq!(full.code(), 101, "{}", full.text);
    assert_eq!(stage.leases().len(), 26);
    stage.gc(&[]).expect("GC");
    assert_eq!(stage.leases(), BTreeMap::new());
}

fn killed_adds(also: &[&str]) {
    if !has_strace() {
        return;
    }
    let killed = sweep(("ADD", also), &Stage::conf, &|stage| {
        sound(stage);
        let new = owners(stage).iter().filter(|id| *id == "new").count();
        assert!(new <= 2, "at most one lease of each family");
        stage.del(&ours(), "new").expect("DEL");
        assert_eq!(owners(stage), ["a", "a", "b", "b"]);
        assert_eq!(stage.add(&ours(), "new").expect("ADD").ips().len(), 2);
        exhaust(stage);
    });
    assert!(killed > 30, "only {killed} were killed");
}

#[test]
fn a_killed_add_is_undone_by_del_and_can_be_repeated() {
    killed_adds(&[]);
}

#[test]
fn so_it_is_without_nameless_files() {
    killed_adds(&["-e", "inject=linkat:error=ENOENT"]);
}

#[test]
fn a_killed_del_is_completed_by_the_next() {
    if !has_strace() {
        return;
    }
    let killed = sweep(("DEL", &[]), &Stage::conf, &|stage| {
        sound(stage);
        stage.del(&ours(), "a").expect("DEL");
        assert_eq!(owners(stage), ["b", "b"]);
        exhaust(stage);
    });
    assert!(killed > 20, "only {killed} were killed");
}

#[test]
fn a_killed_gc_is_completed_by_the_next() {
    if !has_strace() {
        return;
    }
    let conf = |stage: &Stage| {
        let mut conf = stage.conf();
        conf["cniVersion"] = json!("1.1.0");
        conf["cni.dev/valid-attachments"] = json!([{"containerID": "b", "ifname": "eth0"}]);
        conf
    };
    let killed = sweep(("GC", &[]), &conf, &|stage| {
        sound(stage);
        stage.gc(&["b"]).expect("GC");
        assert_eq!(owners(stage), ["b", "b"]);
        exhaust(stage);
    });
    assert!(killed > 20, "only {killed} were killed");
}

#[test]
fn the_reference_goes_on_after_a_killed_add() {
    let Some(reference) = reference() else { return };
    if !has_strace() {
        return;
    }
    sweep(("ADD", &[]), &Stage::conf, &|stage| {
        stage.del(&reference, "new").expect("DEL");
        assert_eq!(owners(stage), ["a", "a", "b", "b"]);
        for n in 0..11 {
            stage.add(&reference, &format!("fill{n}")).expect("an address is free");
        }
        assert_eq!(owners(stage).len(), 26);
    });
}

#[test]
fn a_reference_killed_in_its_add_blocks_no_address() {
    let Some(reference) = reference() else { return };
    let stage = Stage::new(json!([[{"subnet": "10.7.0.0/29"}]]));
    let begin = Instant::now();
    stage.add(&reference, "whole").expect("ADD");
    let whole = begin.elapsed();
    for n in 0..80 {
        let mut child = start(&mut command(&reference, "ADD", &format!("r{n}")), &stage.conf());
        // The kill comes at another point of its work each time.
        let begin = Instant::now();
        while begin.elapsed() < whole * n / 80 {
            std::hint::spin_loop();
        }
        child.kill().expect("kill");
        finish(child);
        stage.gc(&[]).expect("GC");
        assert_eq!(stage.leases(), BTreeMap::new());
    }
    std::fs::write(stage.dir().join("10.7.0.2"), "").expect("what its kill can leave");
    for n in 0..5 {
        stage.add(&ours(), &format!("c{n}")).expect("all five are free");
    }
}
