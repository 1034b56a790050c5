//! What a limited pod sends and receives, measured. Needs root and iperf3.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use serde_json::{Value, json};
use stage::{Counter, Flow, OTHER, RECEIVED, Stage, conf, links, single};

/// Bits a second.
const RATE: u32 = 15_000_000;

fn both(rate: u32, burst: Option<u32>) -> Value {
    let mut keys = json!({"ingressRate": rate, "egressRate": rate});
    if let Some(burst) = burst {
        keys["ingressBurst"] = json!(burst);
        keys["egressBurst"] = json!(burst);
    }
    keys
}

#[test]
fn both_directions_keep_their_limit_from_the_first_second() {
    let Some(stage) = Stage::new("shape") else { return };
    let (pod, result) = stage.pod("a");
    stage.ingress(&pod, &result).assert_beyond(100_000_000, "without limits");
    // None, what containerd writes, and a second's worth of a hundredth.
    for (rate, burst) in
        [(RATE, None), (RATE, Some(u32::MAX)), (RATE, Some(RATE / 100)), (1_000_000, None)]
    {
        let conf = conf(&both(rate, burst), &result);
        stage.run("ADD", &pod, &conf).ok();
        let what = |direction: &str| format!("{direction} with a burst of {burst:?}");
        stage.ingress(&pod, &result).assert_near(rate, &what("ingress"));
        stage.egress(&pod).assert_near(rate, &what("egress"));
        stage.run("DEL", &pod, &conf).ok();
    }
    stage.egress(&pod).assert_beyond(100_000_000, "after DEL");
}

#[test]
fn faster_limits_are_kept_too() {
    let Some(stage) = Stage::new("shape-fast") else { return };
    let (pod, result) = stage.pod("a");
    let rate = 100_000_000;
    stage.run("ADD", &pod, &conf(&both(rate, None), &result)).ok();
    stage.ingress(&pod, &result).assert_near(rate, "ingress");
    stage.egress(&pod).assert_near(rate, "egress");
}

#[test]
fn one_direction_leaves_the_other_alone() {
    let Some(stage) = Stage::new("shape-one") else { return };
    let (pod, result) = stage.pod("a");
    let given = json!({"runtimeConfig": {"bandwidth": {"egressRate": RATE}}});
    stage.run("ADD", &pod, &conf(&given, &result)).ok();
    stage.egress(&pod).assert_near(RATE, "egress");
    stage.ingress(&pod, &result).assert_beyond(RATE, "ingress");
}

#[test]
fn networks_that_are_listed_are_not_limited() {
    let Some(stage) = Stage::new("shape-but") else { return };
    let (pod, result) = stage.pod("a");
    let mut keys = both(RATE, None);
    keys["unshapedSubnets"] = json!(["192.0.2.0/24", "2001:db8::/64"]);
    let conf = conf(&keys, &result);
    let shaped = stage.run("ADD", &pod, &conf).ok();
    stage.lab.plugin("bandwidth").check(&pod, "eth0", &conf, &shaped).ok();
    let (ingress, egress) = (stage.ingress(&pod, &result), stage.egress(&pod));
    ingress.assert_beyond(RATE, "from a listed network");
    egress.assert_beyond(RATE, "to a listed network");
    let v6 = Flow { address: stage.outside.address(1), ..stage.egress(&pod) };
    v6.assert_beyond(RATE, "to a listed network of IPv6");
    let v6 = Flow { address: lab::address(&result, 1), ..stage.ingress(&pod, &result) };
    v6.assert_beyond(RATE, "from a listed network of IPv6");
    Flow { source: Some(OTHER), ..ingress }.assert_near(RATE, "from another network");
    let other = OTHER.parse().expect("address");
    Flow { address: other, ..egress }.assert_near(RATE, "to another network");
}

#[test]
fn only_networks_that_are_listed_are_limited() {
    let Some(stage) = Stage::new("shape-only") else { return };
    let (pod, result) = stage.pod("a");
    let mut keys = both(RATE, None);
    keys["shapedSubnets"] = json!(["192.0.2.0/24", "2001:db8::/64"]);
    let conf = conf(&keys, &result);
    let shaped = stage.run("ADD", &pod, &conf).ok();
    stage.lab.plugin("bandwidth").check(&pod, "eth0", &conf, &shaped).ok();
    let (ingress, egress) = (stage.ingress(&pod, &result), stage.egress(&pod));
    ingress.assert_near(RATE, "from a listed network");
    egress.assert_near(RATE, "to a listed network");
    let v6 = Flow { address: stage.outside.address(1), ..stage.egress(&pod) };
    v6.assert_near(RATE, "to a listed network of IPv6");
    let v6 = Flow { address: lab::address(&result, 1), ..stage.ingress(&pod, &result) };
    v6.assert_near(RATE, "from a listed network of IPv6");
    Flow { source: Some(OTHER), ..ingress }.assert_beyond(RATE, "from another network");
    let other = OTHER.parse().expect("address");
    Flow { address: other, ..egress }.assert_beyond(RATE, "to another network");
}

/// An interface that has no other end on the node is limited in the pod.
fn limited_in_the_pod(plugin: &str) {
    let Some(stage) = Stage::new(&format!("shape-{plugin}")) else { return };
    if !lab::kernel_makes(plugin) {
        return;
    }
    let neighbour = lab::lan(&stage.lab);
    let pod = stage.lab.pod("a");
    let network = lab::lan_conf(&stage.lab, plugin, &json!({"master": "lan0"}));
    let result = stage.lab.plugin(plugin).add(&pod, "eth0", &network).ok();
    single(&neighbour);
    single(&pod);
    let node = stage.lab.snapshot();
    let conf = conf(&both(RATE, None), &result);
    let shaped = stage.run("ADD", &pod, &conf).ok();
    let interfaces = shaped["interfaces"].as_array().expect("interfaces");
    assert_eq!(interfaces.len(), 2, "{shaped}");
    assert_eq!(interfaces[1]["sandbox"].as_str(), pod.path().to_str());
    let ifb = interfaces[1]["name"].as_str().expect("a name");
    assert_eq!(links(&pod, "ifb"), [ifb]);
    node.assert_same(&stage.lab.snapshot());
    stage.lab.plugin("bandwidth").check(&pod, "eth0", &conf, &shaped).ok();
    // What arrives at the interface itself is counted before it is held.
    let (address, counter) = (lab::address(&result, 0), Counter::Sent(ifb));
    let ingress = Flow { from: &neighbour, to: &pod, address, source: None, counter };
    ingress.assert_near(RATE, "ingress");
    let address = "10.33.0.254".parse().expect("address");
    let egress = Flow { from: &pod, to: &neighbour, address, source: None, counter: RECEIVED };
    egress.assert_near(RATE, "egress");
    stage.run("DEL", &pod, &conf).ok();
    assert!(links(&pod, "ifb").is_empty());
    egress.assert_beyond(RATE, "after DEL");
    let failed = stage.lab.plugin("bandwidth").check(&pod, "eth0", &conf, &shaped);
    assert_eq!(failed.code(), 103, "{failed}");
}

#[test]
fn a_macvlan_interface_is_limited_in_the_pod() {
    limited_in_the_pod("macvlan");
}

#[test]
fn an_ipvlan_interface_is_limited_in_the_pod() {
    limited_in_the_pod("ipvlan");
}
