//! Pods attached by dummy in the lab: who reaches their addresses, what is reported, what is left.
//! Needs root and a kernel with dummy links.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use lab::{Lab, for_golden};
use serde_json::{Value, json};

fn conf() -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "type": "dummy",
        "dns": {"nameservers": ["10.33.0.254"]},
        "ipam": {"type": "static", "addresses": [{"address": "10.44.0.10/32"}]}})
}

#[test]
fn an_address_is_the_pods_own_and_reached_by_other_links() {
    if !lab::kernel_makes("dummy") {
        return;
    }
    let lab = Lab::new("dummy-reach");
    // A pod with a link to the node besides: `eth0` of the lab's local network.
    let pod = lab::lan(&lab);
    let before = lab.snapshot();
    let result = lab.plugin("dummy").add(&pod, "any0", &conf()).ok();
    assert_eq!(pod.addresses("any0"), ["10.44.0.10/32"]);
    lab.node().ip("addr add 10.33.0.1/24 dev lan0");
    lab.node().ip("route add 10.44.0.10 via 10.33.0.254");
    lab.node().ping("10.44.0.10".parse().expect("address")).expect("the pod's own address");
    lab.node().ip("addr del 10.33.0.1/24 dev lan0");
    lab.plugin("dummy").check(&pod, "any0", &conf(), &result).ok();
    lab.plugin("dummy").del(&pod, "any0", &conf()).ok();
    assert!(!pod.has_link("any0"));
    before.assert_same(&lab.snapshot());
}

#[test]
fn the_result_is_golden() {
    if !lab::kernel_makes("dummy") {
        return;
    }
    let lab = Lab::new("dummy-golden");
    let pod = lab.pod("a");
    let result = lab.plugin("dummy").add(&pod, "eth0", &conf()).ok();
    let golden: Value = serde_json::from_str(include_str!("golden/result.json")).expect("JSON");
    assert_eq!(for_golden(&result, &pod), golden);
}

#[test]
fn a_failure_leaves_nothing_and_an_address_is_freed_without_the_pod() {
    if !lab::kernel_makes("dummy") {
        return;
    }
    let lab = Lab::new("dummy-fail");
    let pod = lab.pod("a");
    let before = lab.snapshot();
    let mut conf = lab::lan_conf(&lab, "dummy", &json!({}));
    conf["ipam"]["routes"] = json!([{"dst": "10.99.0.0/16", "gw": "192.0.2.1"}]);
    let failed = lab.plugin("dummy").add(&pod, "eth0", &conf).error();
    assert!(failed["msg"].as_str().is_some_and(|text| text.contains("10.99.0.0/16")), "{failed}");
    assert!(!pod.has_link("eth0"), "the link stays");
    before.assert_same(&lab.snapshot());
    conf["ipam"]["routes"] = json!([]);
    lab.plugin("dummy").add(&pod, "eth0", &conf).ok();
    pod.delete();
    lab.plugin("dummy").gc(&conf, &[]).ok();
    before.assert_same(&lab.snapshot());
}
