//! Many at once, on a node that has nothing yet. Needs root.

mod stage;

use lab::{Lab, Outcome, Pod};
use serde_json::{Value, json};
use stage::{dual, lab_with_vlans, leases};
use std::collections::BTreeSet;

fn add_at_once(lab: &Lab, pods: &[Pod], conf: &Value) -> Vec<Value> {
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let run = |pod| scope.spawn(move || lab.plugin("bridge").add(pod, "eth0", conf));
        let runs: Vec<_> = pods.iter().map(run).collect();
        runs.into_iter().flat_map(std::thread::ScopedJoinHandle::join).collect()
    });
    assert_eq!(outcomes.len(), pods.len());
    outcomes.iter().map(Outcome::ok).collect()
}

#[test]
fn the_first_pods_of_a_vlan_share_its_gateway() {
    let Some(lab) = lab_with_vlans("bridge-crowd-vlan") else { return };
    let conf = dual(&lab, json!({"vlan": 100}));
    let pods: Vec<_> = (0..12).map(|n| lab.pod(&format!("p{n}"))).collect();
    let results = add_at_once(&lab, &pods, &conf);
    for (pod, result) in pods.iter().zip(&results) {
        assert_eq!(result["interfaces"][3], results[0]["interfaces"][3]);
        lab.plugin("bridge").check(pod, "eth0", &conf, result).ok();
        pod.ping("fd88::1".parse().expect("ip")).expect("the gateway");
    }
    assert_eq!(lab.node().ip_json("link show master cni0").as_array().map(Vec::len), Some(13));
}

#[test]
fn fifty_first_pods_at_once_all_succeed() {
    let lab = Lab::new("bridge-crowd");
    let conf = dual(&lab, json!({"ipMasq": true, "ipMasqBackend": "nftables"}));
    let pods: Vec<_> = (0..50).map(|n| lab.pod(&format!("p{n}"))).collect();
    let results = add_at_once(&lab, &pods, &conf);
    let texts = |pointer: &str| -> BTreeSet<String> {
        results.iter().filter_map(|r| r.pointer(pointer)).map(ToString::to_string).collect()
    };
    assert_eq!(texts("/ips/0/address").len(), 50);
    assert_eq!(texts("/ips/1/address").len(), 50);
    assert_eq!(texts("/interfaces/2/mac").len(), 50);
    // All see the same bridge.
    assert_eq!(texts("/interfaces/0").len(), 1);
    assert_eq!(lab.node().addresses("cni0").len(), 2);
    for (pod, result) in pods.iter().zip(&results) {
        lab.plugin("bridge").check(pod, "eth0", &conf, result).ok();
    }
    pods[0].ping(lab::address(&results[49], 0)).expect("the last pod");
    let before = lab.snapshot();
    std::thread::scope(|scope| {
        for pod in &pods {
            let (lab, conf) = (&lab, &conf);
            scope.spawn(move || lab.plugin("bridge").del(pod, "eth0", conf).ok());
        }
    });
    assert_eq!(leases(&lab), Vec::<String>::new());
    let after = lab.snapshot();
    assert_eq!(before.diff(&after).added, Vec::<String>::new());
    assert!(after.matching("veth").is_empty(), "{after:?}");
}
