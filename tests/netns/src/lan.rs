//! A local network beyond the node.

use crate::node::{Lab, Pod};

/// Gives the node a link `lan0` to a neighbour, whose `eth0` has 10.33.0.254/24 and fd33::254/64.
pub fn lan(lab: &Lab) -> Pod {
    let neighbour = lab.pod("neighbour");
    let path = neighbour.path().display().to_string();
    lab.node().ip(&format!("link add lan0 type veth peer name eth0 netns {path}"));
    lab.node().ip("link set lan0 up");
    for line in ["link set eth0 up", "addr add 10.33.0.254/24 dev eth0"] {
        neighbour.ip(line);
    }
    neighbour.ip("addr add fd33::254/64 dev eth0 nodad");
    neighbour
}

/// A configuration of `plugin` for the network of [`lan`], dual-stack with host-local, with `keys`.
pub fn lan_conf(lab: &Lab, plugin: &str, keys: &serde_json::Value) -> serde_json::Value {
    let mut conf = serde_json::json!({
        "cniVersion": "1.1.0", "name": "net", "type": plugin,
        "ipam": {
            "type": "host-local", "dataDir": lab.data_dir(),
            "ranges": [[{"subnet": "10.33.0.0/24", "gateway": "10.33.0.254"}], [{"subnet": "fd33::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}]
        }
    });
    for (key, value) in keys.as_object().expect("keys") {
        conf[key] = value.clone();
    }
    conf
}
