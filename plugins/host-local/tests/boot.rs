//! Leases and the boot: with another boot identifier, clock and memory file systems, which needs
//! a mount namespace.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use serde_json::json;
use stage::{Stage, command, finish, ours, start};
use std::process::Command;

/// Runs our program after `mounts` in a mount namespace of its own.
fn in_another_boot(stage: &Stage, verb: &str, id: &str, mounts: &str) -> stage::Answer {
    let plain = command(&ours(), verb, id);
    let mut inside = Command::new("unshare");
    inside.args(["-m", "--", "sh", "-ec"]).arg(format!("{mounts}; exec \"$0\"")).arg(ours());
    inside.env_clear();
    for (key, value) in plain.get_envs() {
        if let Some(value) = value {
            inside.env(key, value);
        }
    }
    finish(start(&mut inside, &stage.conf()))
}

/// Shell commands that put `text` over a file of /proc.
fn over(stage: &Stage, path: &str, text: &str) -> String {
    let file = stage.data.join(path.replace('/', "_"));
    std::fs::write(&file, text).expect("write");
    format!("mount --bind {} {path}", file.display())
}

fn may_mount() -> bool {
    let works = Command::new("unshare")
        .args(["-m", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !works {
        lab::skip("mount namespaces need root");
    }
    works
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const NEXT: &str = "11111111-2222-3333-4444-555555555555\n";
/// Mounted after the leases were made, as after a boot.
const NEW_MEMORY: &str = "mount -t tmpfs new /dev; mount -t tmpfs new /run";

fn clock(seconds: u64) -> String {
    format!("cpu 0 0\nbtime {seconds}\nprocesses 1\n")
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("clock").as_secs()
}

#[test]
fn leases_known_to_the_index_end_with_the_boot_whatever_the_clock_says() {
    if !may_mount() {
        return;
    }
    let stage = Stage::new(json!([[{"subnet": "10.7.0.0/29"}]]));
    for n in 0..5 {
        stage.add(&ours(), &format!("c{n}")).expect("ADD");
    }
    // The clock stands before the boot in which they were made.
    let mounts =
        format!("{}; {}", over(&stage, BOOT_ID, NEXT), over(&stage, "/proc/stat", &clock(1000)));
    let ips = in_another_boot(&stage, "ADD", "c0", &mounts).expect("ADD").ips();
    assert_eq!(ips, ["10.7.0.2"], "the round goes on after the last one given out");
    assert_eq!(stage.leases().len(), 1);
}

#[test]
fn leases_of_another_program_end_with_the_boot_by_their_time() {
    if !may_mount() {
        return;
    }
    let stage = Stage::new(json!([[{"subnet": "10.7.0.0/29"}]]));
    std::fs::create_dir_all(stage.dir()).expect("directory");
    for n in 2..7 {
        std::fs::write(stage.dir().join(format!("10.7.0.{n}")), "old\r\neth0").expect("lease");
    }
    let later = over(&stage, "/proc/stat", &clock(now() + 3600));
    let boot = over(&stage, BOOT_ID, NEXT);
    // The kernel's time of boot is later than the leases, but so it is after a clock was set
    // forward in this boot: file systems of this boot are older.
    let answer = in_another_boot(&stage, "ADD", "new", &format!("{boot}; {later}"));
    let memory = std::process::Command::new("stat").args(["-fc", "%T", "/dev"]).output();
    if memory.is_ok_and(|output| output.stdout.starts_with(b"tmpfs")) {
        assert_eq!(answer.code(), 101, "{}", answer.text);
        assert_eq!(stage.leases().len(), 5);
        std::fs::remove_dir_all(stage.data.join(".podloom")).expect("forget this boot");
    } else {
        lab::skip("/dev is not in memory: a set clock is not told from a new boot here");
        return;
    }
    let mounts = format!("{NEW_MEMORY}; {boot}; {later}");
    in_another_boot(&stage, "ADD", "new", &mounts).expect("ADD");
    assert_eq!(stage.leases().len(), 1, "{:?}", stage.leases());
}

#[test]
fn later_walks_of_a_boot_never_go_by_time() {
    if !may_mount() {
        return;
    }
    let stage = Stage::new(json!([[{"subnet": "10.7.0.0/24"}]]));
    let boot = over(&stage, BOOT_ID, NEXT);
    in_another_boot(&stage, "ADD", "ours", &boot).expect("ADD");
    std::fs::write(stage.dir().join("10.7.0.99"), "theirs\r\neth0").expect("lease");
    let later = over(&stage, "/proc/stat", &clock(now() + 3600));
    let mounts = format!("{NEW_MEMORY}; {boot}; {later}");
    in_another_boot(&stage, "ADD", "more", &mounts).expect("ADD");
    assert_eq!(stage.leases().len(), 3);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    if !may_mount() {
        return;
    }
    let stage = Stage::new(json!([[{"subnet": "10.7.0.0/24"}]]));
    stage.add(&ours(), "a").expect("ADD");
    let readonly =
        format!("mount --bind {0} {0}; mount -o remount,ro,bind {0}", stage.data.display());
    let answer = in_another_boot(&stage, "ADD", "b", &readonly);
    assert_eq!(answer.code(), 5, "{}", answer.text);
    assert!(answer.document["details"].as_str().is_some_and(|d| d.contains("writable")));
    assert_eq!(in_another_boot(&stage, "DEL", "a", &readonly).code(), 5, "the lease stays");
    in_another_boot(&stage, "DEL", "nobody", &readonly).expect("nothing to do");
    let mut conf = stage.conf();
    conf["cniVersion"] = json!("1.1.0");
    let mut inside = Command::new("unshare");
    inside.args(["-m", "--", "sh", "-ec"]).arg(format!("{readonly}; exec \"$0\"")).arg(ours());
    inside.env("CNI_COMMAND", "STATUS").env("CNI_PATH", "/nonexistent");
    let answer = finish(start(&mut inside, &conf));
    assert_eq!(answer.code(), 50, "{}", answer.text);
    assert!(answer.text.contains("Read-only"), "{}", answer.text);
}

#[test]
fn on_a_full_file_system_an_add_leaves_both_leases_or_none() {
    if !may_mount() {
        return;
    }
    let stage = Stage::new(json!([[{"subnet": "10.7.0.0/24"}], [{"subnet": "fd07::/64"}]]));
    let data = stage.data.display();
    let mut seen = [0, 0];
    let sizes = (2..=14).map(|files| format!("nr_inodes={files}"));
    for limit in sizes.chain((1..=16).map(|pages| format!("size={}k", pages * 4))) {
        let script = format!(
            "mount -t tmpfs -o {limit} small {data}; \"$0\" >/dev/null && echo 1 || echo 0; \
             ls -A {data}/net | grep -Ec '^10|^fd|new-lease' || true"
        );
        let plain = command(&ours(), "ADD", "x");
        let mut inside = Command::new("unshare");
        inside.args(["-m", "--", "sh", "-ec", &script]).arg(ours()).env_clear();
        for (key, value) in plain.get_envs() {
            if let Some(value) = value {
                inside.env(key, value);
            }
        }
        let output = start(&mut inside, &stage.conf()).wait_with_output().expect("wait");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let good = text.lines().next() == Some("1");
        let wanted = if good { "1\n2\n" } else { "0\n0\n" };
        assert_eq!(text, wanted, "with {limit}: {}", String::from_utf8_lossy(&output.stderr));
        seen[usize::from(good)] += 1;
    }
    assert!(seen[0] > 5 && seen[1] > 5, "both outcomes are met: {seen:?}");
}
