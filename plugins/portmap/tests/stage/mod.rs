//! A node with a bridge, a pod on it and a host outside, as a network plugin would leave them
//! before portmap is called.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs; a test's helper fails the test"
)]

use lab::{Bins, Lab, Outcome, Outside, Pod};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

pub const BACKENDS: [&str; 2] = ["iptables", "nftables"];

pub struct Stage {
    pub lab: Lab,
    pub outside: Outside,
}

pub struct Attached {
    pub pod: Pod,
    pub v4: IpAddr,
    pub v6: IpAddr,
    number: u8,
}

impl Stage {
    pub fn new(name: &str) -> Stage {
        let lab = Lab::new(name);
        let node = lab.node();
        node.ip("link add br0 type bridge");
        node.ip("addr add 10.9.0.1/24 dev br0");
        node.ip("addr add fd00:9::1/64 dev br0 nodad");
        node.ip("link set br0 up");
        node.set_sysctl("net/ipv4/ip_forward", "1");
        node.set_sysctl("net/ipv6/conf/all/forwarding", "1");
        let outside = lab.outside("outside", &["192.0.2.0/24", "2001:db8::/64"]);
        // A second address of the node, to tell hostIP from others.
        node.ip(&format!("addr add 192.0.2.9/24 dev {}", outside.node_link()));
        Stage { lab, outside }
    }

    /// A pod with the `number`th addresses.
    pub fn pod(&self, name: &str, number: u8) -> Attached {
        let pod = self.lab.pod(name);
        let node = self.lab.node();
        let link = format!("veth{number}");
        node.ip(&format!("link add {link} type veth peer name p{number}"));
        node.ip(&format!("link set {link} master br0 up"));
        // So that a pod reaches itself through a port of the node.
        node.ip(&format!("link set {link} type bridge_slave hairpin on"));
        node.ip(&format!("link set p{number} netns {}", pod.path().display()));
        pod.ip("link set lo up");
        pod.ip(&format!("link set p{number} name eth0 up"));
        let v4 = format!("10.9.0.{number}");
        let v6 = format!("fd00:9::{number}");
        pod.ip(&format!("addr add {v4}/24 dev eth0"));
        pod.ip(&format!("addr add {v6}/64 dev eth0 nodad"));
        pod.ip("route add default via 10.9.0.1");
        pod.ip("-6 route add default via fd00:9::1");
        Attached { pod, v4: v4.parse().unwrap(), v6: v6.parse().unwrap(), number }
    }

    pub fn run(&self, verb: &str, pod: &Attached, conf: &Value) -> Outcome {
        self.lab.plugin("portmap").attachment(verb, &pod.pod, "eth0", conf)
    }

    pub fn run_of(&self, bins: &Bins, verb: &str, pod: &Attached, conf: &Value) -> Outcome {
        self.lab.plugin_of(bins, "portmap").attachment(verb, &pod.pod, "eth0", conf)
    }

    pub fn gc(&self, conf: &Value, valid: &[(&str, &str)]) -> Outcome {
        let cache = self.lab.cache_dir().to_string_lossy().into_owned();
        std::fs::create_dir_all(self.lab.cache_dir().join("results")).unwrap();
        let mut conf = conf.clone();
        conf["cniVersion"] = json!("1.1.0");
        self.lab.plugin("portmap").env("PODLOOM_CACHE_DIR", cache).gc(&conf, valid)
    }

    /// The node's rules in a form without counters and handles.
    pub fn rules(&self) -> String {
        let node = self.lab.node();
        let mut all = String::new();
        for program in ["iptables", "ip6tables"] {
            all += &node.sh(program, &["-t", "nat", "-S"]);
        }
        for family in ["ip", "ip6"] {
            let listed = node.exec("nft", &["list", "table", family, "cni_hostport"]);
            all += &String::from_utf8_lossy(&listed.stdout);
        }
        all
    }

    /// Lines of the rules that are a container's.
    pub fn container_rules(&self) -> Vec<String> {
        let is_own = |line: &&str| {
            line.contains("CNI-DN-") || line.contains(" comment \"") && !line.contains("CNI p")
        };
        self.rules().lines().filter(is_own).map(str::to_owned).collect()
    }

    pub fn registry(&self) -> Vec<String> {
        let dir = self.lab.run_dir().join("portmap");
        let mut names = Vec::new();
        for part in ["ports", "records"] {
            let Ok(entries) = std::fs::read_dir(dir.join(part)) else { continue };
            names.extend(
                entries.map(|e| format!("{part}/{}", e.unwrap().file_name().to_string_lossy())),
            );
        }
        names.sort();
        names
    }

    pub fn assert_bare(&self) {
        assert_eq!(self.container_rules(), Vec::<String>::new());
        assert_eq!(self.registry(), Vec::<String>::new());
    }

    pub fn node_address(&self, family: usize, port: u16) -> SocketAddr {
        SocketAddr::new(self.outside.node_address(family), port)
    }
}

impl Attached {
    /// What the network plugin reported.
    pub fn result(&self) -> Value {
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": "br0"},
                {"name": "eth0", "sandbox": self.pod.path()},
            ],
            "ips": [
                {"address": format!("{}/24", self.v4), "gateway": "10.9.0.1", "interface": 1},
                {"address": format!("{}/64", self.v6), "gateway": "fd00:9::1", "interface": 1},
            ],
        })
    }

    /// A configuration with `keys` added.
    pub fn conf(&self, backend: &str, mappings: Value, keys: &Value) -> Value {
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": "net", "type": "portmap", "backend": backend,
            "capabilities": {"portMappings": true},
            "runtimeConfig": {"portMappings": mappings},
            "prevResult": self.result(),
        });
        for (key, value) in keys.as_object().into_iter().flatten() {
            conf[key] = value.clone();
        }
        conf
    }
}

pub fn map(host: u16, container: u16, protocol: &str) -> Value {
    json!({"hostPort": host, "containerPort": container, "protocol": protocol})
}

pub fn map_at(host: u16, container: u16, protocol: &str, ip: &str) -> Value {
    json!({"hostPort": host, "containerPort": container, "protocol": protocol, "hostIP": ip})
}
