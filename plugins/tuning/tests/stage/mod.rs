//! A node with a pod whose interface was made by hand, as a plugin earlier in the chain would.

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs; a test's helper fails the test"
)]

use lab::{Bins, Lab, Outcome, Pod};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What is tuned in these tests, beside sysctls.
pub const MAC: &str = "02:00:00:00:07:01";
pub const NOTIFY: &str = "net/ipv4/conf/eth0/arp_notify";
pub const BACKLOG: &str = "net/core/somaxconn";

pub struct Stage {
    pub lab: Lab,
    pub pod: Pod,
    pub result: Value,
}

/// All that can be tuned of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    link: [String; 5],
    sysctls: [String; 2],
}

impl State {
    /// What the reference plugin puts back.
    pub fn without_sysctls(&self) -> &[String; 5] {
        &self.link
    }
}

impl Stage {
    pub fn new(name: &str) -> Stage {
        let lab = Lab::new(name);
        let pod = lab.pod("a");
        let (node, path) = (lab.node(), pod.path().display().to_string());
        node.ip(&format!("link add HOST type veth peer name eth0 netns {path}"));
        node.ip("link set HOST up");
        pod.ip("link set eth0 up");
        pod.ip("addr add 10.33.0.1/24 dev eth0");
        let result = json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "HOST", "mac": mac(&lab.node().ip_json("link show HOST")), "mtu": 1500},
                {"name": "eth0", "mac": mac(&pod.ip_json("link show eth0")), "mtu": 1500, "sandbox": path},
            ],
            "ips": [{"interface": 1, "address": "10.33.0.1/24", "gateway": "10.33.0.254"}],
            "routes": [{"dst": "0.0.0.0/0"}],
        });
        Stage { lab, pod, result }
    }

    pub fn state(&self) -> State {
        let link = &self.pod.ip_json("link show eth0")[0];
        let has =
            |flag: &str| link["flags"].as_array().is_some_and(|f| f.iter().any(|f| f == flag));
        State {
            link: [
                link["address"].to_string(),
                link["mtu"].to_string(),
                has("PROMISC").to_string(),
                has("ALLMULTI").to_string(),
                link["txqlen"].to_string(),
            ],
            sysctls: [NOTIFY, BACKLOG].map(|key| self.pod.sysctl(key)),
        }
    }

    /// A configuration with `keys`.
    pub fn conf(&self, keys: &Value) -> Value {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "tuning",
            "dataDir": self.lab.data_dir(), "prevResult": self.result});
        for (key, value) in keys.as_object().expect("keys") {
            conf[key] = value.clone();
        }
        conf
    }

    pub fn run(&self, verb: &str, conf: &Value) -> Outcome {
        self.run_of(&Bins::ours(), verb, conf)
    }

    pub fn run_of(&self, bins: &Bins, verb: &str, conf: &Value) -> Outcome {
        self.lab.plugin_of(bins, "tuning").attachment(verb, &self.pod, "eth0", conf)
    }

    pub fn backup(&self) -> PathBuf {
        self.lab.data_dir().join(format!("{}_eth0.json", self.pod.id()))
    }

    pub fn files(&self) -> Vec<String> {
        lab::names(&self.lab.data_dir())
    }
}

fn mac(link: &Value) -> Value {
    link[0]["address"].clone()
}

/// Everything at once.
pub fn all() -> Value {
    json!({"mac": MAC, "mtu": 1400, "promisc": true, "allmulti": true, "txQLen": 77,
        "sysctl": {"net.ipv4.conf.IFNAME.arp_notify": "1", "net.core.somaxconn": "333"}})
}
