//! A node whose link `lan0` leads to a DHCP server, and the daemon on the node.

#![allow(dead_code, reason = "each test program uses its part")]

use lab::{Capture, Frame, Lab, Plugin, Pod};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(25);

/// A program that ends with the test.
#[derive(Debug)]
pub(crate) struct Program(Child);

impl Program {
    /// Starts it in a namespace; what it says goes to `log`.
    pub(crate) fn start(ns: &lab::Ns, command: &mut Command, log: &Path) -> Program {
        let file = File::options().create(true).append(true).open(log).expect("a log");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a log")).stderr(file);
        Program(ns.run(|| command.spawn()).expect("a program of ./dev test's packages"))
    }

    pub(crate) fn of(child: Child) -> Program {
        Program(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).expect("a pid")), signal).expect("kill");
    }

    /// Ends it as a crash does.
    pub(crate) fn crash(mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }

    /// Its exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.0.wait().expect("wait").code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A node with a server's host beyond `lan0`: 10.66.0.1/24 and fd66::1/64.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) server: Pod,
}

impl Site {
    pub(crate) fn new(name: &str) -> Site {
        let lab = Lab::new(name);
        let server = lab.pod("server");
        let path = server.path().display().to_string();
        lab.node().ip(&format!("link add lan0 type veth peer name eth0 netns {path}"));
        lab.node().ip("link set lan0 up");
        for line in ["link set lo up", "link set eth0 up", "addr add 10.66.0.1/24 dev eth0"] {
            server.ip(line);
        }
        server.ip("addr add fd66::1/64 dev eth0 nodad");
        Site { lab, server }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.lab.tmp_dir().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.lab.run_dir().join("dhcp.sock")
    }

    /// The daemon, once it listens.
    pub(crate) fn daemon(&self, flags: &[&str]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dhcp"));
        command.arg("daemon").arg("-socketpath").arg(self.socket()).args(flags);
        let daemon = Program::start(self.lab.node(), &mut command, &self.file("daemon.log"));
        lab::until("the daemon listens", PATIENT, || {
            std::os::unix::net::UnixStream::connect(self.socket()).is_ok()
        });
        daemon
    }

    /// dnsmasq with these further flags. It answers from 10.66.0.100 on for two minutes, unless they
    /// say otherwise.
    pub(crate) fn dnsmasq(&self, flags: &[&str]) -> Program {
        let mut command = Command::new("dnsmasq");
        command.args(["-k", "-C", "/dev/null", "-p", "0", "-u", "root", "--interface=eth0"]);
        command.args(["--bind-interfaces", "--no-ping", "--log-dhcp", "--log-facility=-", "-x"]);
        command.arg(self.file("dnsmasq.pid"));
        command.arg(format!("--dhcp-leasefile={}", self.file("dnsmasq.leases").display()));
        if !flags.iter().any(|flag| flag.contains("dhcp-range=10.")) {
            command.arg("--dhcp-range=10.66.0.100,10.66.0.199,255.255.255.0,2m");
        }
        let program = Program::start(&self.server, command.args(flags), &self.file("dnsmasq.log"));
        let listens = || self.server.sh("ss", &["-lun"]).contains(":67");
        lab::until("dnsmasq listens", PATIENT, listens);
        program
    }

    /// Kea with leases of six seconds, which are to be renewed after two.
    pub(crate) fn kea(&self) -> Program {
        let dir = self.lab.tmp_dir();
        let config = json!({"Dhcp4": {
            "interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "raw"},
            "lease-database": {"type": "memfile", "persist": true, "lfc-interval": 0,
                "name": dir.join("kea.leases")},
            "valid-lifetime": 6, "min-valid-lifetime": 6, "max-valid-lifetime": 6,
            "renew-timer": 2, "rebind-timer": 4, "calculate-tee-times": false,
            "subnet4": [{"id": 1, "subnet": "10.66.0.0/24",
                "pools": [{"pool": "10.66.0.100 - 10.66.0.199"}],
                "option-data": [{"name": "routers", "data": "10.66.0.1"}]}],
            "loggers": [{"name": "kea-dhcp4", "severity": "INFO",
                "output_options": [{"output": "stdout"}]}]
        }});
        let path = self.file("kea.json");
        std::fs::write(&path, config.to_string()).expect("a configuration");
        let mut command = Command::new("kea-dhcp4");
        command.env("KEA_PIDFILE_DIR", &dir).env("KEA_LOCKFILE_DIR", &dir).arg("-c").arg(path);
        let before = self.text("kea.log").matches("DHCP4_STARTED").count();
        let program = Program::start(&self.server, &mut command, &self.file("kea.log"));
        lab::until("Kea has started", PATIENT, || {
            self.text("kea.log").matches("DHCP4_STARTED").count() > before
        });
        program
    }

    /// A configuration of macvlan on `lan0` with dhcp, with `keys` in `ipam`.
    pub(crate) fn conf(&self, keys: &Value) -> Value {
        self.conf_of("macvlan", &json!({"master": "lan0"}), keys)
    }

    pub(crate) fn conf_of(&self, plugin: &str, more: &Value, keys: &Value) -> Value {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": plugin,
            "ipam": {"type": "dhcp", "daemonSocketPath": self.socket()}});
        for (key, value) in more.as_object().expect("keys") {
            conf[key] = value.clone();
        }
        for (key, value) in keys.as_object().expect("keys") {
            conf["ipam"][key] = value.clone();
        }
        conf
    }

    pub(crate) fn macvlan(&self) -> Plugin<'_> {
        self.lab.plugin("macvlan")
    }

    /// The records that the daemon keeps.
    pub(crate) fn records(&self) -> Vec<Value> {
        let dir = self.socket().with_extension("leases");
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
        let records = files.filter(|path| path.extension().is_some_and(|e| e == "json"));
        let texts = records.filter_map(|path| std::fs::read_to_string(path).ok());
        texts.map(|text| serde_json::from_str(&text).expect("a record")).collect()
    }

    /// When the only lease ends, in milliseconds of this boot.
    pub(crate) fn expiry(&self) -> u64 {
        self.records()[0]["leases"][0][1]["expiry"].as_u64().expect("an expiry")
    }
}

/// The kind of a DHCPv4 message (option 53, which ours have first), its `ciaddr`, and the address it
/// goes to, of a frame to a server.
pub(crate) fn to_server(frame: &Frame) -> Option<(u8, String, String)> {
    (frame.ports()? == (68, 67)).then_some(())?;
    let dhcp = frame.bytes.get(42..)?;
    let client: [u8; 4] = dhcp.get(12..16)?.try_into().ok()?;
    let kind = *dhcp.get(242)?;
    Some((kind, std::net::Ipv4Addr::from(client).to_string(), frame.ip()?.1.to_string()))
}

/// Waits for a message of this kind to the server.
pub(crate) fn seen(capture: &Capture, kind: u8) -> (u8, String, String) {
    let is_it = |frame: &Frame| to_server(frame).is_some_and(|(k, _, _)| k == kind);
    let frame = capture.find(PATIENT, is_it);
    assert!(frame.is_some(), "no message of kind {kind}");
    frame.as_ref().and_then(to_server).expect("a message")
}

pub(crate) const REQUEST: u8 = 3;
pub(crate) const RELEASE: u8 = 7;
