//! `podloom-conformance` itself: on podloom's plugins, which it takes for anybody's, and on plugins
//! that are not as they should be.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

use lab::{Bins, Lab};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A place for files of one test.
struct Desk {
    lab: Lab,
}

impl Desk {
    fn new(name: &str) -> Desk {
        Desk { lab: Lab::new(name) }
    }

    fn file(&self, name: &str, value: &Value) -> PathBuf {
        let path = self.lab.tmp_dir().join(name);
        std::fs::write(&path, value.to_string()).expect("a file");
        path
    }

    /// A plugin that a shell runs: `answers` are branches of a case over CNI_COMMAND.
    fn script(&self, name: &str, answers: &str) -> PathBuf {
        let path = self.lab.tmp_dir().join(name);
        let versions = r#"{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}"#;
        let text = format!(
            "#!/bin/sh\ncat >/dev/null\ncase \"$CNI_COMMAND\" in\nVERSION) echo '{versions}' ;;\n{answers}\nesac\n"
        );
        std::fs::write(&path, text).expect("a script");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("chmod");
        path
    }
}

fn program(plugin: &Path, config: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podloom-conformance"));
    command.arg(plugin).arg("--config").arg(config).args(more);
    command
}

fn run(plugin: &Path, config: &Path, more: &[&str]) -> Output {
    program(plugin, config, more).output().expect("podloom-conformance")
}

/// The JSON report of a run that ended with this code.
fn report(done: &Output, code: i32) -> Value {
    let errors = String::from_utf8_lossy(&done.stderr);
    let text = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(code), "{errors}\n{text}");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn outcome<'r>(report: &'r Value, case: &str) -> (&'r str, &'r str) {
    let all = report["cases"].as_array().expect("cases");
    let found = all.iter().find(|entry| entry["name"] == case);
    let found = found.unwrap_or_else(|| panic!("no {case} in {report}"));
    (found["outcome"].as_str().expect("text"), found["reason"].as_str().expect("text"))
}

fn ranges() -> Value {
    json!([[{"subnet": "10.88.0.0/16"}]])
}

fn bridge() -> Value {
    json!({"name": "net", "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {"type": "host-local", "ranges": ranges(), "routes": [{"dst": "0.0.0.0/0"}]}})
}

#[test]
fn an_interface_plugin_is_judged_by_all_cases() {
    let desk = Desk::new("program-bridge");
    let config = desk.file("bridge.json", &bridge());
    let more = ["--report", "json", "--sweep", "40"];
    let done = run(&Bins::ours().program("bridge"), &config, &more);
    let report = report(&done, 0);
    assert_eq!(report["cniVersion"], "1.1.0");
    assert_eq!(report["counts"]["failed"], 0, "{report}");
    assert!(report["counts"]["met"].as_u64() > Some(25), "{report}");
    assert_eq!(outcome(&report, "check_sees_each_drift").0, "met");
    assert_eq!(outcome(&report, "status_without_a_program").0, "not asked");
    let notes = report["notes"].to_string();
    for note in ["RoutesDeleted", "all that a pod had", "it stays: link: cni0"] {
        assert!(notes.contains(note), "{note}: {notes}");
    }
}

#[test]
fn an_ipam_plugin_is_judged_by_itself() {
    let desk = Desk::new("program-ipam");
    let config = json!({"type": "any", "ipam": {"type": "host-local", "ranges": ranges()}});
    let about = desk.file("about.json", &json!({"stays": [], "repeat": "refused",
        "pool": "/ipam/ranges", "drifts": ["leases-deleted"], "makes": ["file: data/net/10.88."],
        "invalid": [{"at": "/ipam/ranges", "value": [[{"subnet": "10.0.0.0/31"}]], "names": "10.0.0.0/31"}]}));
    let about = about.to_string_lossy().into_owned();
    let more = ["--about", &about, "--report", "json", "--skip", "kill"];
    let program = Bins::ours().program("host-local");
    let report = report(&run(&program, &desk.file("ipam.json", &config), &more), 0);
    assert!(report["notes"].to_string().contains("hands out addresses"), "{report}");
    for case in ["status_and_add_with_an_exhausted_pool", "invalid_values", "cold_add_and_del"] {
        assert_eq!(outcome(&report, case).0, "met", "{case}");
    }
}

#[test]
fn a_chained_plugin_is_judged_behind_its_list_or_alone() {
    let desk = Desk::new("program-chain");
    let mappings = json!([{"hostPort": "${8000+POD}", "containerPort": 80, "protocol": "tcp"}]);
    let portmap = json!({"type": "portmap", "backend": "nftables",
        "capabilities": {"portMappings": true}, "runtimeConfig": {"portMappings": mappings}});
    let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [bridge(), portmap]});
    let about = desk.file("about.json", &json!({"makes": ["800"], "drifts": ["rules-flushed"]}));
    let about = about.to_string_lossy().into_owned();
    let only = "attach,drift,collect,versions";
    let program = Bins::ours().program("portmap");
    for (name, config, chained) in [("list", &list, None), ("alone", &portmap, Some("--chained"))] {
        let config = desk.file(name, config);
        let mut more = vec!["--about", &about, "--report", "json", "--only", only];
        more.extend(chained);
        let report = report(&run(&program, &config, &more), 0);
        assert!(report["notes"].to_string().contains("earlier plugins"), "{report}");
        assert_eq!(outcome(&report, "gc_keeps_the_valid_and_frees_the_rest").0, "met");
        assert_eq!(outcome(&report, "check_sees_each_drift").0, "met");
    }
}

#[test]
fn what_a_node_needs_is_set_up() {
    let desk = Desk::new("program-setup");
    let mut config = bridge();
    config["type"] = "macvlan".into();
    config["master"] = "lan0".into();
    let setup = ["ip link add lan0 type veth peer name lan1", "ip link set lan0 up"];
    let about = desk.file("about.json", &json!({"setup": setup}));
    let about = about.to_string_lossy().into_owned();
    let more = ["--about", &about, "--report", "json", "--only", "attach"];
    let program = Bins::ours().program("macvlan");
    let report = report(&run(&program, &desk.file("macvlan.json", &config), &more), 0);
    // Nothing of it is on the node that GC could find.
    assert!(report["notes"].to_string().contains("what it can"), "{report}");
}

#[test]
fn a_plugin_that_does_not_do_as_it_says_fails() {
    let desk = Desk::new("program-liar");
    // It makes an interface, which its DEL forgets, and refuses nothing.
    let liar = desk.script(
        "liar",
        r#"ADD) ip link add "l$$" type veth peer name "$CNI_IFNAME" netns "$CNI_NETNS" || exit 1
     echo '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.2/24"}]}' ;;
*) ;;"#,
    );
    let config = desk.file("liar.json", &json!({"type": "liar"}));
    let report =
        report(&run(&liar, &config, &["--report", "json", "--only", "bad_json,attach"]), 1);
    let (word, reason) = outcome(&report, "add_and_del");
    assert_eq!(word, "failed");
    assert!(!reason.is_empty());
    assert_eq!(outcome(&report, "bad_json").0, "failed");
    let text = run(&liar, &config, &["--only", "bad_json"]);
    assert_eq!(text.status.code(), Some(1));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("failed    bad_json") && text.contains("1 failed"), "{text}");
    let file = desk.lab.tmp_dir().join("report.xml");
    let to = file.to_string_lossy().into_owned();
    let done = run(&liar, &config, &["--only", "bad_json", "--report", "junit", "-o", &to]);
    assert_eq!((done.status.code(), done.stdout.len()), (Some(1), 0));
    let xml = std::fs::read_to_string(&file).expect("the report");
    assert!(xml.contains(r#"<testsuites tests="1" failures="1""#), "{xml}");
}

#[test]
fn what_cannot_be_judged_is_said() {
    let desk = Desk::new("program-unfit");
    let fails = desk.script("fails", r#"*) echo '{"code":7,"msg":"never"}'; exit 1 ;;"#);
    let config = desk.file("config.json", &json!({"type": "fails"}));
    let list = desk.file("list.json", &json!({"plugins": [{"type": "bridge"}]}));
    let broken = desk.lab.tmp_dir().join("broken.json");
    std::fs::write(&broken, "{").expect("a file");
    let silent = desk.lab.tmp_dir().join("silent");
    std::fs::write(&silent, "#!/bin/sh\nexec sleep 60\n").expect("a script");
    std::fs::set_permissions(&silent, PermissionsExt::from_mode(0o755)).expect("chmod");
    let unfit = [
        (&fails, &config, vec![], "never"),
        (&fails, &list, vec![], "type fails"),
        (&fails, &broken, vec![], "broken.json"),
        (&fails, &config, vec!["--only", "nosuch"], "nosuch"),
        (&fails, &config, vec!["--ipam-dir", "/var/lib"], "/var/lib"),
        (&broken, &config, vec![], "not an executable"),
        (&silent, &config, vec!["--timeout", "1"], "signal 9"),
    ];
    for (plugin, config, more, about) in unfit {
        let done = run(plugin, config, &more);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{about}: {errors}");
        assert!(errors.contains(about), "{about}: {errors}");
    }
}

#[test]
fn nothing_remains_when_it_is_told_to_stop() {
    let desk = Desk::new("program-stopped");
    let started = desk.lab.tmp_dir().join("started");
    let slow = format!("*) touch {}; sleep 617 ;;", started.display());
    let slow = desk.script("slow", &slow);
    let config = desk.file("config.json", &json!({"type": "slow"}));
    let mut child = program(&slow, &config, &[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("podloom-conformance");
    lab::until("ADD is called", Duration::from_secs(20), || started.exists());
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, Signal::SIGINT).expect("a signal");
    let status = child.wait().expect("the end");
    assert_eq!(status.code(), Some(130));
    let asleep = |pid: &String| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line == b"sleep\x00617\x00"
    };
    lab::until("the plugin ends", Duration::from_secs(5), || {
        !lab::names(Path::new("/proc")).iter().any(asleep)
    });
    let own = format!("{pid}.");
    let labs = std::fs::read_dir(lab::BASE).expect("labs").flatten();
    let left: Vec<_> =
        labs.map(|lab| lab.file_name()).filter(|n| n.to_string_lossy().starts_with(&own)).collect();
    assert!(left.is_empty(), "{left:?}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    assert!(!mounts.contains(&format!("{}/{own}", lab::BASE)), "{mounts}");
}

/// A plugin that looks for a daemon, which `setup` starts.
#[test]
fn a_daemon_runs_as_long_as_its_node() {
    let desk = Desk::new("program-daemon");
    let daemon = desk.lab.tmp_dir().join("daemon");
    std::fs::write(&daemon, "#!/bin/sh\ntouch /run/daemon\nexec sleep 618\n").expect("a script");
    std::fs::set_permissions(&daemon, PermissionsExt::from_mode(0o755)).expect("chmod");
    let asks = desk.script(
        "asks",
        r#"ADD) [ -e /run/daemon ] || { echo '{"code":100,"msg":"no daemon"}'; exit 1; }
     ip link add name h$$ type veth peer name "$CNI_IFNAME" netns "$CNI_NETNS"
     echo '{"cniVersion":"1.1.0","interfaces":[{"name":"'$CNI_IFNAME'"}]}' ;;
DEL) nsenter --net="$CNI_NETNS" ip link del "$CNI_IFNAME"; exit 0 ;;
*) ;;"#,
    );
    let setup = [format!("{} &", daemon.display()), "sleep 0.3".to_owned()];
    let about = desk.file("about.json", &json!({"setup": setup, "drifts": []}));
    let about = about.to_string_lossy().into_owned();
    let config = desk.file("asks.json", &json!({"type": "asks"}));
    let more = ["--about", &about, "--report", "json", "--only", "add_and_del,del_twice"];
    let report = report(&run(&asks, &config, &more), 0);
    assert_eq!(outcome(&report, "add_and_del").0, "met");
    let asleep = |pid: &String| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line == b"sleep\x00618\x00"
    };
    assert!(!lab::names(Path::new("/proc")).iter().any(asleep), "the daemon still runs");
}
