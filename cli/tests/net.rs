//! `podloom net` with plugins that are shell scripts: what it prints, where, and its exit codes.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Notes every call with its configuration; fails as the files beside it say.
const FAKE: &str = r#"#!/bin/sh
here=$(dirname "$0")/..
config=$(cat)
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS $CNI_ARGS" >>"$here/calls"
echo "$config" >"$here/config-$CNI_COMMAND"
if [ -e "$here/fail-$CNI_COMMAND" ]; then cat "$here/fail-$CNI_COMMAND"; exit 1; fi
if [ -e "$here/hang-$CNI_COMMAND" ]; then echo started >"$here/fifo"; exec sleep 1000; fi
case $CNI_COMMAND in
ADD) echo '{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/x"}],
    "ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1","interface":0}]}' ;;
VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}' ;;
esac
"#;

struct Desk {
    dir: PathBuf,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.dir);
    }
}

impl Desk {
    fn new() -> Desk {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("podloom-cli-{}-{count}", std::process::id()));
        for sub in ["net.d", "bin"] {
            fs::create_dir_all(dir.join(sub)).expect("desk");
        }
        let plugin = dir.join("bin/fake");
        fs::write(&plugin, FAKE).expect("plugin");
        fs::set_permissions(plugin, fs::Permissions::from_mode(0o755)).expect("mode");
        let desk = Desk { dir };
        desk.conf(
            "10-net.conflist",
            &json!({"name": "net", "cniVersion": "1.1.0",
            "plugins": [{"type": "fake", "capabilities": {"mac": true}}]}),
        );
        desk
    }

    fn conf(&self, file: &str, doc: &Value) {
        fs::write(self.dir.join("net.d").join(file), doc.to_string()).expect("conf");
    }

    fn put(&self, file: &str, text: &str) {
        fs::write(self.dir.join(file), text).expect("file");
    }

    fn path(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }

    /// The command with cnitool's environment.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podloom"));
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command.env("NETCONFPATH", self.path("net.d")).env("CNI_PATH", self.path("bin"));
        command.env("PODLOOM_RUN_DIR", self.path("run"));
        command.arg("net").args(words).args(["--cache-dir", &self.path("cache")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str]) -> Said {
        Said::of(self.command(words).output().expect("podloom"))
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        let _none_yet = fs::remove_file(self.dir.join("calls"));
        text.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn must(self, code: i32) -> Said {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("JSON")
    }
}

#[test]
fn an_attachment_from_add_to_del_in_the_way_of_cnitool() {
    let desk = Desk::new();
    let ns = desk.path("ns");
    let mut add = desk.command(&["add", "net", &ns]);
    add.env("CNI_ARGS", "IgnoreUnknown=1;K=v").env("CAP_ARGS", "{\"mac\": \"02:00:00:00:00:09\"}");
    let added = Said::of(add.env("CNI_IFNAME", "net1").output().expect("podloom")).must(0);
    assert_eq!(added.json()["ips"][0]["address"], "10.0.0.2/24");
    assert_eq!(added.err, "");
    let calls = desk.calls();
    let words: Vec<_> = calls[0].split(' ').collect();
    assert_eq!((words[0], words[2]), ("ADD", "net1"));
    assert!(words[1].starts_with("cnitool-") && words[1].len() == 28, "{calls:?}");
    assert_eq!(words[3..], [ns.as_str(), "IgnoreUnknown=1;K=v"]);
    let config: Value = serde_json::from_str(
        &fs::read_to_string(desk.dir.join("config-ADD")).expect("configuration"),
    )
    .expect("JSON");
    assert_eq!(config["runtimeConfig"], json!({"mac": "02:00:00:00:00:09"}));

    // The arguments of ADD are remembered.
    desk.run(&["check", "net", &ns, "-i", "net1"]).must(0);
    assert_eq!(desk.calls()[0], calls[0].replace("ADD", "CHECK"));
    let shown = desk.run(&["show", "net", &ns, "-i", "net1", "-o", "json"]).must(0).json();
    assert_eq!(shown["args"], json!([["IgnoreUnknown", "1"], ["K", "v"]]));
    assert_eq!(shown["state"], "stale: namespace gone");
    let listed = desk.run(&["list", "-o", "json"]).must(0).json();
    assert_eq!(listed["attachments"][0]["addresses"], json!(["10.0.0.2"]));
    assert_eq!(listed["networks"][0]["plugins"], json!(["fake"]));

    // And DEL works when the configuration is gone.
    fs::remove_file(desk.dir.join("net.d/10-net.conflist")).expect("removed");
    desk.run(&["del", "net", &ns, "-i", "net1"]).must(0);
    assert_eq!(desk.calls()[0], calls[0].replace("ADD", "DEL"));
    let gone = desk.run(&["del", "net", &ns, "-i", "net1"]).must(3);
    assert!(gone.err.contains("network \"net\": DEL") || gone.err.contains("network \"net\""));
}

#[test]
fn faults_have_exit_codes_subjects_and_advice() {
    let desk = Desk::new();
    let ns = desk.path("ns");
    let said = desk.run(&["add", "nope", &ns]).must(3);
    assert!(
        said.err.starts_with("podloom: network \"nope\"\n  cause: no configuration"),
        "{said:?}"
    );
    assert!(said.err.contains("\n  do:    "), "{said:?}");
    assert_eq!(said.out, "");
    let said = desk.run(&["check", "net", &ns, "-o", "json"]).must(3);
    let error: Value = serde_json::from_str(&said.err).expect("JSON");
    assert_eq!(error["error"]["code"], 3);
    assert_eq!(error["error"]["subject"], "network \"net\": CHECK");
    desk.run(&["add", "net"]).must(2);
    desk.run(&["add", "net", &ns, "--args", "novalue"]).must(2);
    desk.run(&["add", "net", &ns, "--cap-args", "[]"]).must(2);
    desk.run(&["add", "net", &ns, "--timeout", "0"]).must(2);
    desk.run(&["add", "net", &ns, "-i", "a/b"]).must(4);
    assert_eq!(desk.calls(), Vec::<String>::new(), "nothing was run");

    desk.put("fail-ADD", "{\"code\": 101, \"msg\": \"pool: empty\", \"details\": \"widen it\"}");
    let said = desk.run(&["add", "net", &ns]).must(1);
    assert!(said.err.contains(
        "podloom: network \"net\": plugin \"fake\" ADD\n  cause: pool: empty\n  do:    widen it"
    ));
    desk.put("fail-STATUS", "{\"code\": 50, \"msg\": \"pool: empty\"}");
    let said = desk.run(&["status", "net", "/run/netns/ignored"]).must(6);
    assert!(said.out.contains("net      1.1.0    not ready  fake"), "{said:?}");
    desk.put("hang-CHECK", "");
    nix::unistd::mkfifo(&desk.dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    fs::remove_file(desk.dir.join("fail-ADD")).expect("removed");
    desk.run(&["add", "net", &ns]).must(0);
    let said = desk.run(&["check", "net", &ns, "--timeout", "0.3"]).must(124);
    assert!(said.err.contains("plugin \"fake\" CHECK\n  cause: gave no answer within 0.3 s"));
    fs::remove_file(desk.dir.join("hang-CHECK")).expect("removed");
    desk.put("fail-CHECK", "{\"code\": 103, \"msg\": \"eth0: is gone\"}");
    desk.run(&["check", "net", &ns]).must(7);
}

#[test]
fn gc_takes_the_valid_ones_from_all_sides() {
    let desk = Desk::new();
    for id in ["one", "two", "three", "four"] {
        desk.run(&["add", "net", "/proc/self/ns/net", "--container-id", id]).must(0);
    }
    desk.calls();
    desk.run(&["gc", "net"]).must(2);
    let list = desk.path("list");
    fs::write(&list, "three:eth0\n\n").expect("list");
    let words = ["gc", "net", "--keep", "one", "--keep-from", &list];
    let said = desk.run(&[&words[..], &["--dry-run", "-o", "json"]].concat()).must(0).json();
    assert_eq!(said["removed"].as_array().map(Vec::len), Some(2));
    assert_eq!(desk.calls(), Vec::<String>::new());
    let said = desk.run(&words).must(0);
    assert!(said.out.ends_with("2 kept, 2 removed; every plugin freed what they do not own\n"));
    let calls = desk.calls();
    assert_eq!(calls.iter().filter(|call| call.starts_with("DEL ")).count(), 2);
    assert_eq!(calls.last().map(String::as_str), Some("GC"));
    // /proc/self is a namespace of whoever looks, so both that are left are alive.
    let said = desk.run(&["gc", "net", "--keep-live", "-o", "json"]).must(0).json();
    assert_eq!(said["kept"].as_array().map(Vec::len), Some(2));
    let json = "[{\"containerID\": \"one\", \"ifname\": \"eth0\"}]";
    fs::write(&list, json).expect("list");
    let said = desk.run(&["gc", "net", "--keep-from", &list, "-o", "json"]).must(0).json();
    assert_eq!(said["removed"], json!([{"containerID": "three", "ifname": "eth0"}]));
    let said = desk.run(&["gc", "net", "--keep-none", "-o", "json"]).must(0).json();
    assert_eq!(said["removed"].as_array().map(Vec::len), Some(1));
    fs::write(&list, "[{\"containerID\": 7}]").expect("list");
    desk.run(&["gc", "net", "--keep-from", &list]).must(2);
}

#[test]
fn validate_names_file_and_key() {
    let desk = Desk::new();
    desk.run(&["validate"]).must(0);
    desk.conf(
        "20-bad.conflist",
        &json!({"name": "bad", "plugins": [{"type": "fake"}, {"type": 7}]}),
    );
    desk.conf("30-old.conf", &json!({"name": "old", "cniVersion": "0.4.0", "type": "fake"}));
    desk.conf("40-net.conflist", &json!({"name": "net", "plugins": [{"type": "fake"}]}));
    let said = desk.run(&["validate", "-o", "json"]).must(4);
    let docs = said.json();
    let valid: Vec<_> = (0..4).map(|i| docs[i]["valid"].as_bool().expect("bool")).collect();
    assert_eq!(valid, [true, false, false, false]);
    let cause = docs[1]["error"]["cause"].as_str().expect("cause");
    assert!(cause.ends_with("20-bad.conflist: plugins[1]: type: is a number, not a string"));
    let cause = docs[2]["error"]["cause"].as_str().expect("cause");
    assert!(cause.contains("the network of this name"), "{cause}");
    let cause = docs[3]["error"]["cause"].as_str().expect("cause");
    assert!(cause.contains("0.4.0: is not supported by the plugin"), "{cause}");
    let file = desk.path("net.d/30-old.conf");
    desk.run(&["validate", "--no-run", &file]).must(0);
    let shown = desk.run(&["show", "old", "-o", "json"]).must(0).json();
    assert_eq!(shown["plugins"][0]["supportedVersions"], json!(["1.0.0", "1.1.0"]));
    let none = desk.path("empty");
    fs::create_dir(&none).expect("directory");
    desk.run(&["validate", "--conf-dir", &none]).must(3);
}

#[test]
fn an_interrupted_add_is_undone() {
    let desk = Desk::new();
    desk.put("hang-ADD", "");
    nix::unistd::mkfifo(&desk.dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    let child = desk.command(&["add", "net", &desk.path("ns"), "--container-id", "c"]).spawn();
    let child = child.expect("podloom");
    // Returns when the plugin runs.
    fs::read_to_string(desk.dir.join("fifo")).expect("fifo");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("signal");
    let said = Said::of(child.wait_with_output().expect("end")).must(130);
    assert!(said.err.contains("interrupted"), "{said:?}");
    let verbs: Vec<_> = desk.calls().iter().map(|call| call[..3].to_owned()).collect();
    assert_eq!(verbs, ["ADD", "DEL"]);
    let listed = desk.run(&["list", "-o", "json"]).must(0).json();
    assert_eq!(listed["attachments"], json!([]));
}

#[test]
fn what_is_not_asked_for_stays_off_the_standard_output() {
    let desk = Desk::new();
    let said = desk.run(&["del", "net", &desk.path("ns"), "-v"]).must(0);
    assert_eq!(said.out, "");
    assert!(said.err.starts_with("DEL ") && said.err.contains(" ms ok"), "{said:?}");
    fs::create_dir_all(desk.dir.join("cache/results")).expect("results");
    desk.put("cache/results/net-torn-eth0", "");
    let said = desk.run(&["list"]).must(0);
    assert!(said.out.contains("net-torn-eth0: corrupt: the file is empty"), "{said:?}");
    let said = desk.run(&["del", "net", "--container-id", "torn"]).must(0);
    assert!(said.err.contains("is not a record"), "{said:?}");
    let help = Said::of(
        Command::new(env!("CARGO_BIN_EXE_podloom")).args(["net", "--help"]).output().expect("help"),
    );
    assert!(help.out.contains("124  a plugin did not answer in time"), "{help:?}");
}
