//! Many at once, on a node that has nothing yet. Needs root.

mod stage;

use lab::Lab;
use serde_json::json;
use stage::{dual, leases};
use std::collections::BTreeSet;

#[test]
fn fifty_first_pods_at_once_all_succeed() {
    let lab = Lab::new("bridge-crowd");
    let conf = dual(&lab, json!({"ipMasq": true, "ipMasqBackend": "nftables"}));
    let pods: Vec<_> = (0..50).map(|n| lab.pod(&format!("p{n}"))).collect();
    let results: Vec<_> = std::thread::scope(|scope| {
        let runs = pods.iter().map(|pod| {
            let (lab, conf) = (&lab, &conf);
            scope.spawn(move || lab.plugin("bridge").add(pod, "eth0", conf))
        });
        let runs: Vec<_> = runs.collect();
        runs.into_iter().map(|run| run.join().expect("thread").ok()).collect()
    });
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
