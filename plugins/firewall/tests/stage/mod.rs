//! A node that forwards nothing by itself, with bridges, pods on them and a host outside, as a
//! network plugin would leave them before firewall is called.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs; a test's helper fails the test"
)]

use lab::{Bins, Lab, Outcome, Outside, Plugin, Pod};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long what must not arrive is waited for.
pub const SOON: Duration = Duration::from_millis(300);

/// The ways in which rules are kept. `legacy` is iptables on the tables of old.
pub const WAYS: [&str; 3] = ["iptables", "legacy", "nftables"];

pub struct Stage {
    pub lab: Lab,
    pub outside: Outside,
    way: &'static str,
}

pub struct Attached {
    pub pod: Pod,
    pub bridge: String,
    pub port: String,
    pub v4: IpAddr,
    pub v6: IpAddr,
    pub mac: String,
}

impl Stage {
    /// A node whose rules are kept in `way`; with iptables it drops what nobody admits.
    pub fn new(name: &str, way: &'static str) -> Stage {
        let lab = Lab::new(&format!("{name}-{way}"));
        let node = lab.node();
        node.set_sysctl("net/ipv4/ip_forward", "1");
        node.set_sysctl("net/ipv6/conf/all/forwarding", "1");
        let outside = lab.outside("outside", &["192.0.2.0/24", "2001:db8::/64"]);
        let stage = Stage { lab, outside, way };
        for number in [8, 9] {
            stage.bridge(number);
        }
        if let Some(programs) = stage.programs() {
            for program in programs {
                stage.lab.node().sh(&program, &["-P", "FORWARD", "DROP"]);
            }
        }
        stage
    }

    fn bridge(&self, number: u8) {
        let node = self.lab.node();
        node.ip(&format!("link add br{number} type bridge"));
        node.ip(&format!("addr add 10.{number}.0.1/24 dev br{number}"));
        node.ip(&format!("addr add fd00:{number}::1/64 dev br{number} nodad"));
        node.ip(&format!("link set br{number} up"));
    }

    /// The programs for the rules, of both families; none with nftables.
    pub fn programs(&self) -> Option<[String; 2]> {
        let suffix = match self.way {
            "iptables" => "",
            "legacy" => "-legacy",
            _ => return None,
        };
        Some(["iptables", "ip6tables"].map(|program| format!("{program}{suffix}")))
    }

    /// A pod on `br<bridge>` with the `number`th addresses there.
    pub fn pod(&self, name: &str, bridge: u8, number: u8) -> Attached {
        let pod = self.lab.pod(name);
        let node = self.lab.node();
        let port = format!("veth{bridge}x{number}");
        node.ip(&format!("link add {port} type veth peer name p{bridge}x{number}"));
        node.ip(&format!("link set {port} master br{bridge} up"));
        node.ip(&format!("link set p{bridge}x{number} netns {}", pod.path().display()));
        pod.ip("link set lo up");
        pod.ip(&format!("link set p{bridge}x{number} name eth0 up"));
        let v4 = format!("10.{bridge}.0.{number}");
        let v6 = format!("fd00:{bridge}::{number}");
        pod.ip(&format!("addr add {v4}/24 dev eth0"));
        pod.ip(&format!("addr add {v6}/64 dev eth0 nodad"));
        pod.ip(&format!("route add default via 10.{bridge}.0.1"));
        pod.ip(&format!("-6 route add default via fd00:{bridge}::1"));
        let mac = pod.ip_json("link show eth0")[0]["address"].as_str().unwrap().to_owned();
        let (v4, v6) = (v4.parse().unwrap(), v6.parse().unwrap());
        Attached { pod, bridge: format!("br{bridge}"), port, v4, v6, mac }
    }

    pub fn plugin(&self) -> Plugin<'_> {
        self.in_way(self.lab.plugin("firewall"))
    }

    pub fn plugin_of(&self, bins: &Bins) -> Plugin<'_> {
        self.in_way(self.lab.plugin_of(bins, "firewall"))
    }

    /// A plugin that finds the programs of this way.
    fn in_way<'l>(&self, plugin: Plugin<'l>) -> Plugin<'l> {
        if self.way != "legacy" {
            return plugin;
        }
        let dir = self.legacy_programs();
        let path = std::env::var("PATH").unwrap_or_default();
        plugin.env("PATH", format!("{}:{path}", dir.display()))
    }

    fn legacy_programs(&self) -> PathBuf {
        // Calls at once make it once.
        static MAKING: Mutex<()> = Mutex::new(());
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = self.lab.tmp_dir().join("legacy");
        if !dir.exists() {
            std::fs::create_dir(&dir).unwrap();
            for family in ["iptables", "ip6tables"] {
                for kind in ["", "-save", "-restore"] {
                    let from = format!("/usr/sbin/{family}-legacy{kind}");
                    std::os::unix::fs::symlink(from, dir.join(format!("{family}{kind}"))).unwrap();
                }
            }
        }
        dir
    }

    pub fn run(&self, verb: &str, pod: &Attached, conf: &Value) -> Outcome {
        self.plugin().attachment(verb, &pod.pod, "eth0", conf)
    }

    /// A configuration for a pod, with `keys` added.
    pub fn conf(&self, pod: &Attached, keys: &Value) -> Value {
        let backend = if self.way == "nftables" { "nftables" } else { "iptables" };
        let mut conf = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "firewall", "backend": backend,
            "prevResult": pod.result(),
        });
        for (key, value) in keys.as_object().into_iter().flatten() {
            conf[key] = value.clone();
        }
        conf
    }

    /// All rules of the node, without counters.
    pub fn rules(&self) -> String {
        let node = self.lab.node();
        let mut all = String::new();
        for program in self.programs().into_iter().flatten() {
            all += &node.sh(&program, &["-S"]);
        }
        for table in ["inet", "bridge", "netdev"] {
            let listed = node.exec("nft", &["list", "table", table, "podloom_firewall"]);
            all += &String::from_utf8_lossy(&listed.stdout);
        }
        all
    }

    /// Lines of the rules that say this.
    pub fn rules_with(&self, text: &str) -> Vec<String> {
        self.rules().lines().filter(|l| l.contains(text)).map(str::to_owned).collect()
    }

    /// Files of the state directory.
    pub fn files(&self) -> Vec<String> {
        fn below(dir: &std::path::Path, all: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    below(&entry.path(), all);
                } else if entry.file_name() != "lock" {
                    all.push(entry.path().display().to_string());
                }
            }
        }
        let mut all = Vec::new();
        below(&self.lab.run_dir().join("firewall"), &mut all);
        all
    }

    /// Nothing is there that belongs to a pod or a bridge.
    #[track_caller]
    pub fn assert_bare(&self) {
        for text in ["10.8.0.", "10.9.0.", "fd00:", "podloom firewall", "ingressPolicy: i", "veth"]
        {
            assert_eq!(self.rules_with(text), Vec::<String>::new(), "{}: {text}", self.way);
        }
        assert_eq!(self.files(), Vec::<String>::new());
    }

    pub fn outside_address(&self, family: usize, port: u16) -> SocketAddr {
        SocketAddr::new(self.outside.address(family), port)
    }
}

impl Attached {
    /// What the network plugin reported.
    pub fn result(&self) -> Value {
        json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": self.bridge},
                {"name": self.port},
                {"name": "eth0", "mac": self.mac, "sandbox": self.pod.path()},
            ],
            "ips": [
                {"address": format!("{}/24", self.v4), "interface": 2},
                {"address": format!("{}/64", self.v6), "interface": 2},
            ],
        })
    }

    pub fn address(&self, family: usize, port: u16) -> SocketAddr {
        SocketAddr::new(if family == 0 { self.v4 } else { self.v6 }, port)
    }
}
