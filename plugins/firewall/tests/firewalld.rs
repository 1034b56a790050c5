//! A real firewalld on a bus of its own, on the node of a lab. Needs root, dbus-daemon, and firewalld:
//! installed, or unpacked in `target/debian` as `./dev test` does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helper fails the test"
)]

mod stage;

use lab::{Bins, Outcome, Plugin};
use serde_json::{Value, json};
use stage::{Attached, SOON, Stage};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/>
  </policy>
</busconfig>
"#;
const NAME: &str = "org.fedoraproject.FirewallD1";
const OBJECT: &str = "/org/fedoraproject/FirewallD1";

/// Where firewalld's files are, as in `/`.
fn installed() -> Option<PathBuf> {
    let unpacked = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/debian");
    let named = std::env::var_os("PODLOOM_FIREWALLD_DIR").map(PathBuf::from);
    let mut all = named.into_iter().chain([unpacked, PathBuf::from("/")]);
    let found = all.find(|dir| dir.join("usr/sbin/firewalld").is_file());
    let has_bus = PathBuf::from("/usr/bin/dbus-daemon").is_file();
    if found.is_none() || !has_bus {
        lab::skip("firewalld or dbus-daemon is missing: ./dev test brings them");
        return None;
    }
    found
}

/// A node with a bus and the daemon.
struct City {
    stage: Stage,
    processes: Vec<Child>,
}

impl City {
    fn new(name: &str) -> Option<City> {
        let files = installed()?;
        let mut city = City { stage: Stage::new(name, "nftables"), processes: Vec::new() };
        let config = city.stage.lab.tmp_dir().join("bus.conf");
        std::fs::write(&config, BUS.replace("SOCKET", &city.socket())).unwrap();
        let mut bus = Command::new("/usr/bin/dbus-daemon");
        bus.args(["--nofork", "--nopidfile", "--config-file"]).arg(config);
        city.start(bus);
        let socket = PathBuf::from(city.socket());
        lab::until("the bus", lab::PATIENCE, || socket.exists());
        let etc = city.stage.lab.tmp_dir().join("firewalld");
        std::fs::create_dir(&etc).unwrap();
        let mut daemon = Command::new("/usr/bin/python3");
        daemon.arg(files.join("usr/sbin/firewalld")).args(["--nofork", "--nopid"]);
        daemon.arg("--system-config").arg(etc);
        daemon.arg("--default-config").arg(files.join("usr/lib/firewalld"));
        daemon.arg("--log-file").arg(city.stage.lab.tmp_dir().join("firewalld.log"));
        daemon.env("PYTHONPATH", files.join("usr/lib/python3/dist-packages"));
        city.start(daemon);
        let limit = Duration::from_secs(30);
        let state =
            ["org.freedesktop.DBus.Properties.Get", &format!("string:{NAME}"), "string:state"];
        lab::until("firewalld", limit, || city.ask(&state).contains("RUNNING"));
        Some(city)
    }

    fn socket(&self) -> String {
        self.stage.lab.tmp_dir().join("bus").display().to_string()
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.socket())
    }

    /// Starts a program on the node, with `/run` and `/var/lib` of its own.
    fn start(&mut self, mut command: Command) {
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let over = self.stage.lab.private_dirs();
        let child = self.stage.lab.node().run_private(&over, || command.spawn().expect("start"));
        self.processes.push(child);
    }

    /// Calls a method of the daemon; what `dbus-send` says.
    fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new("dbus-send");
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        command.args(["--system", "--print-reply", "--reply-timeout=20000"]);
        command.arg(format!("--dest={NAME}")).arg(OBJECT).args(words);
        let done = command.output().expect("dbus-send");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    fn sources(&self, zone: &str) -> String {
        self.ask(&["org.fedoraproject.FirewallD1.zone.getSources", &format!("string:{zone}")])
    }

    fn plugin_of(&self, bins: &Bins) -> Plugin<'_> {
        self.stage.plugin_of(bins).env("DBUS_SYSTEM_BUS_ADDRESS", self.address())
    }

    fn run(&self, verb: &str, pod: &Attached, conf: &Value) -> Outcome {
        self.plugin_of(&Bins::ours()).attachment(verb, &pod.pod, "eth0", conf)
    }

    fn conf(&self, pod: &Attached, keys: &Value) -> Value {
        let mut conf = self.stage.conf(pod, keys);
        if keys.get("backend").is_none() {
            conf.as_object_mut().unwrap().remove("backend");
        }
        conf
    }
}

impl Drop for City {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().rev() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[test]
fn pods_are_sources_of_the_zone() {
    let Some(city) = City::new("zone") else { return };
    let (a, b) = (city.stage.pod("a", 9, 2), city.stage.pod("b", 9, 3));
    let _server = city.stage.outside.tcp_echo(80);
    let reach = |pod: &Attached, family, limit| {
        let to = city.stage.outside_address(family, 80);
        pod.pod.tcp_within(to, limit).map(|reply| reply.server)
    };
    reach(&a, 0, SOON).expect_err("the daemon rejects");
    // It runs, so it is what takes the rules.
    let conf = city.conf(&a, &json!({}));
    let plugin = city.plugin_of(&Bins::ours());
    plugin.status(&conf).ok();
    for _ in 0..2 {
        city.run("ADD", &a, &conf).ok();
        city.run("CHECK", &a, &conf).ok();
    }
    for family in [0, 1] {
        assert_eq!(reach(&a, family, lab::PATIENCE).expect("admitted"), "outside");
        reach(&b, family, SOON).expect_err("not admitted");
    }
    assert!(city.sources("trusted").contains("10.9.0.2/32"), "{}", city.sources("trusted"));
    // Another zone; what is in one is refused by others.
    let other = city.conf(&b, &json!({"backend": "firewalld", "firewalldZone": "work"}));
    city.run("ADD", &b, &other).ok();
    assert!(city.sources("work").contains("fd00:9::3/128"), "{}", city.sources("work"));
    let mut taken = city.conf(&b, &json!({"firewalldZone": "home", "name": "second"}));
    let error = city.run("ADD", &b, &taken).error();
    assert_eq!(error["code"], 104, "{error}");
    assert!(error["msg"].as_str().unwrap().contains("ZONE_CONFLICT"), "{error}");
    taken["firewalldZone"] = json!("nowhere");
    let error = city.run("ADD", &b, &taken).error();
    assert!(error["msg"].as_str().unwrap().contains("nowhere"), "{error}");
    assert!(city.sources("work").contains("10.9.0.3/32"), "the failed ones took nothing along");
    // A reload forgets; CHECK tells, and ADD heals.
    city.ask(&["org.fedoraproject.FirewallD1.reload"]);
    let error = city.run("CHECK", &a, &conf).error();
    assert_eq!(error["code"], 103, "{error}");
    city.run("ADD", &a, &conf).ok();
    assert_eq!(reach(&a, 0, lab::PATIENCE).expect("healed"), "outside");
    city.run("DEL", &a, &conf).ok();
    reach(&a, 0, SOON).expect_err("removed");
    // GC takes the other with its namespace gone.
    city.run("ADD", &b, &other).ok();
    b.pod.delete();
    plugin.gc(&other, &[]).ok();
    assert!(!city.sources("work").contains("10.9."), "{}", city.sources("work"));
    assert_eq!(city.stage.files(), Vec::<String>::new());
}

#[test]
fn a_daemon_that_is_gone_holds_nothing_up() {
    let Some(mut city) = City::new("gone") else { return };
    let a = city.stage.pod("a", 9, 2);
    let conf = city.conf(&a, &json!({"backend": "firewalld"}));
    city.run("ADD", &a, &conf).ok();
    let mut daemon = city.processes.pop().unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let plugin = city.plugin_of(&Bins::ours());
    assert_eq!(plugin.status(&conf).code(), 50);
    assert_eq!(city.run("CHECK", &a, &conf).code(), 104);
    let b = city.stage.pod("b", 9, 3);
    let error = city.run("ADD", &b, &city.conf(&b, &json!({"backend": "firewalld"}))).error();
    assert_eq!(error["code"], 104, "{error}");
    assert!(error["details"].as_str().unwrap().contains("does not run"), "{error}");
    // Its sources went with it.
    plugin.gc(&conf, &[("pod-a", "eth0")]).ok();
    city.run("DEL", &a, &conf).ok();
    assert_eq!(city.stage.files(), Vec::<String>::new());
}

#[test]
fn either_removes_what_the_other_made() {
    let Some(reference) = lab::reference() else { return };
    if !reference.program("firewall").is_file() {
        return lab::skip("the reference plugins have no firewall here");
    }
    let Some(city) = City::new("cohabit") else { return };
    let ours = Bins::ours();
    for (number, (first, second)) in [(&reference, &ours), (&ours, &reference)].iter().enumerate() {
        let a = city.stage.pod(&format!("a{number}"), 9, 10 + u8::try_from(number).unwrap());
        let mut conf = city.conf(&a, &json!({"backend": "firewalld"}));
        conf["cniVersion"] = json!("1.0.0");
        conf["prevResult"]["cniVersion"] = json!("1.0.0");
        let run = |bins: &Bins, verb: &str| {
            let outcome = city.plugin_of(bins).attachment(verb, &a.pod, "eth0", &conf);
            assert!(outcome.success(), "{} of {}'s: {outcome}", bins.name(), first.name());
        };
        run(first, "ADD");
        assert!(city.sources("trusted").contains(&a.v4.to_string()));
        run(first, "CHECK");
        run(second, "CHECK");
        run(second, "DEL");
        assert!(!city.sources("trusted").contains(&a.v4.to_string()));
        run(first, "DEL");
    }
}
