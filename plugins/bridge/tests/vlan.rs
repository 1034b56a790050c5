//! VLANs: of the port, of the trunk, and of the gateway. Needs root and a kernel with VLAN
//! filtering on bridges.

mod stage;

use serde_json::json;
use stage::{add, dual, ids, lab_with_vlans, plain, port};

#[test]
fn a_port_is_in_its_vlans_only() {
    let Some(lab) = lab_with_vlans("bridge-vlan") else { return };
    let bridge = lab.plugin("bridge");
    for (index, (more, want)) in [
        (json!({"vlan": 100}), vec![100]),
        (json!({"vlan": 100, "preserveDefaultVlan": true}), vec![1, 100]),
        (json!({"vlanTrunk": [{"id": 30}, {"minID": 10, "maxID": 12}]}), vec![1, 10, 11, 12, 30]),
        (json!({"vlan": 11, "vlanTrunk": [{"minID": 10, "maxID": 12}]}), vec![10, 11, 12]),
    ]
    .into_iter()
    .enumerate()
    {
        let (pod, conf) = (lab.pod(&format!("p{index}")), plain(more));
        let result = add(&lab, &pod, &conf);
        assert_eq!(ids(&lab, port(&result)), want, "{conf}");
        bridge.check(&pod, "eth0", &conf, &result).ok();
        let lost = want.last().copied().unwrap_or_default().to_string();
        lab.node().sh("bridge", &["vlan", "del", "vid", &lost, "dev", port(&result)]);
        let outcome = bridge.check(&pod, "eth0", &conf, &result);
        assert!(outcome.msg().contains("VLAN"), "{outcome}");
    }
}

#[test]
fn pods_of_a_vlan_have_their_gateway() {
    let Some(lab) = lab_with_vlans("bridge-vlan-gateway") else { return };
    let (a, b, other) = (lab.pod("a"), lab.pod("b"), lab.pod("c"));
    let conf = dual(&lab, json!({"vlan": 100}));
    let result = add(&lab, &a, &conf);
    assert_eq!(result["interfaces"][3]["name"], "cni0.100");
    let second = add(&lab, &b, &conf);
    assert_eq!(result["interfaces"][3], second["interfaces"][3]);
    a.ping("10.88.0.1".parse().expect("ip")).expect("the gateway");
    a.ping(lab::address(&second, 0)).expect("the other pod");
    let mut conf2 = dual(&lab, json!({"vlan": 200, "name": "other"}));
    conf2["ipam"]["ranges"] = json!([[{"subnet": "10.89.0.0/16"}]]);
    add(&lab, &other, &conf2);
    other.ping("10.89.0.1".parse().expect("ip")).expect("its own gateway");
    lab.plugin("bridge").check(&a, "eth0", &conf, &result).ok();
    lab.plugin("bridge").gc(&conf, &[(a.id(), "eth0"), (b.id(), "eth0")]).ok();
    a.ping("10.88.0.1".parse().expect("ip")).expect("the gateway outlives GC");
}

#[test]
fn a_bridge_without_filtering_gets_it() {
    let Some(lab) = lab_with_vlans("bridge-vlan-late") else { return };
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    add(&lab, &a, &plain(json!({})));
    add(&lab, &b, &plain(json!({"name": "other", "vlan": 100})));
    let info = stage::link(lab.node(), "cni0")["linkinfo"]["info_data"].clone();
    assert_eq!(info["vlan_filtering"], 1);
}
