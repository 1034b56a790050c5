use super::*;
use cni_types::Version;
use serde_json::{Value, json};

fn result(ips: Value) -> CniResult {
    let doc = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "br0"},
            {"name": "eth0", "sandbox": "/run/netns/a"},
            {"name": "eth0"},
            {"name": "eth1", "sandbox": "/run/netns/a"},
        ],
        "ips": ips,
    });
    CniResult::from_value(&doc, Version::LATEST).expect("result")
}

fn found(ips: Value) -> Vec<String> {
    pods(&result(ips), "eth0").iter().map(ToString::to_string).collect()
}

#[test]
fn the_first_address_of_each_family_on_the_pods_interface_is_taken() {
    assert_eq!(
        found(json!([
            {"address": "192.0.2.1/24", "interface": 0},
            {"address": "192.0.2.2/24", "interface": 2},
            {"address": "192.0.2.3/24", "interface": 3},
            {"address": "2001:db8::4/64", "interface": 1},
            {"address": "10.0.0.5/24", "interface": 1},
            {"address": "10.0.0.6/24", "interface": 1},
        ])),
        ["10.0.0.5/24", "2001:db8::4/64"]
    );
    assert_eq!(found(json!([{"address": "10.0.0.5/24"}])), ["10.0.0.5/24"]);
    assert_eq!(found(json!([{"address": "10.0.0.5/24", "interface": 9}])), ["10.0.0.5/24"]);
    assert_eq!(found(json!([])), Vec::<String>::new());
}
