//! Pods with a TAP interface: who may open it, what goes through it, what is left. Needs root.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod guest;

use guest::Opening;
use lab::{Lab, for_golden};
use serde_json::{Value, json};

const GUEST: Opening = Opening { uid: 107, gid: 108, queue: false };

fn conf(lab: &Lab, keys: &Value) -> Value {
    lab::lan_conf(lab, "tap", keys)
}

#[test]
fn a_guest_of_the_owner_speaks_with_the_pod() {
    let lab = Lab::new("tap-owner");
    let pod = lab.pod("a");
    let before = lab.snapshot();
    let keys = json!({"owner": 107, "mac": "02:00:00:00:00:0a", "mtu": 1400});
    let result = lab.plugin("tap").add(&pod, "eth0", &conf(&lab, &keys)).ok();
    let golden: Value = serde_json::from_str(include_str!("golden/result.json")).expect("JSON");
    assert_eq!(for_golden(&result, &pod), golden);
    let stranger = guest::open(&pod, "eth0", Opening { uid: 109, ..GUEST });
    assert_eq!(stranger.err(), Some(libc::EPERM), "anybody may open it");
    let mut device = guest::open(&pod, "eth0", GUEST).expect("the owner");
    assert_eq!(guest::ask(&mut device, 1), [2, 0, 0, 0, 0, 10]);
    // With one queue, a second descriptor is refused.
    assert_eq!(guest::open(&pod, "eth0", GUEST).err(), Some(libc::EBUSY));
    lab.plugin("tap").check(&pod, "eth0", &conf(&lab, &keys), &result).ok();
    drop(device);
    lab.plugin("tap").del(&pod, "eth0", &conf(&lab, &keys)).ok();
    assert!(!pod.has_link("eth0"));
    before.assert_same(&lab.snapshot());
}

#[test]
fn a_group_may_open_several_queues() {
    let lab = Lab::new("tap-queues");
    let pod = lab.pod("a");
    let conf = conf(&lab, &json!({"group": 108, "multiQueue": true}));
    lab.plugin("tap").add(&pod, "eth0", &conf).ok();
    let queue = Opening { queue: true, ..GUEST };
    assert_eq!(guest::open(&pod, "eth0", Opening { gid: 109, ..queue }).err(), Some(libc::EPERM));
    let queues: Vec<_> =
        (0..2).map(|_| guest::open(&pod, "eth0", queue).expect("a queue")).collect();
    assert_eq!(queues.len(), 2);
    lab.plugin("tap").status(&conf).ok();
}

#[test]
fn a_bridge_in_the_pod_is_joined() {
    let lab = Lab::new("tap-bridge");
    let pod = lab.pod("a");
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "tap", "bridge": "br0"});
    let refused = lab.plugin("tap").add(&pod, "eth0", &conf).error();
    assert!(refused["msg"].as_str().is_some_and(|msg| msg.contains("br0")), "{refused}");
    assert!(!pod.has_link("eth0"), "the interface stays");
    pod.ip("link add br0 type bridge");
    pod.ip("link set br0 up");
    pod.ip("addr add 10.33.0.9/24 dev br0");
    let result = lab.plugin("tap").add(&pod, "eth0", &conf).ok();
    let mut device = guest::open(&pod, "eth0", Opening { uid: 0, gid: 0, ..GUEST }).expect("root");
    let bridge = pod.ip_json("link show br0")[0]["address"].clone();
    let seen = guest::ask(&mut device, 9).map(|byte| format!("{byte:02x}")).join(":");
    assert_eq!(json!(seen), bridge);
    lab.plugin("tap").check(&pod, "eth0", &conf, &result).ok();
    pod.ip("link set eth0 nomaster");
    let drift = lab.plugin("tap").check(&pod, "eth0", &conf, &result).error();
    assert!(drift["msg"].as_str().is_some_and(|msg| msg.contains("br0")), "{drift}");
}

#[test]
fn a_failure_leaves_nothing_and_a_taken_name_is_refused() {
    let lab = Lab::new("tap-fail");
    let pod = lab.pod("a");
    let before = lab.snapshot();
    let mut wrong = conf(&lab, &json!({}));
    wrong["ipam"]["routes"] = json!([{"dst": "10.99.0.0/16", "gw": "192.0.2.1"}]);
    let failed = lab.plugin("tap").add(&pod, "eth0", &wrong).error();
    assert!(failed["msg"].as_str().is_some_and(|msg| msg.contains("10.99.0.0/16")), "{failed}");
    assert!(!pod.has_link("eth0"));
    pod.ip("tuntap add mode tap name eth0");
    let taken = lab.plugin("tap").add(&pod, "eth0", &conf(&lab, &json!({}))).error();
    assert_eq!(taken["code"], 102, "{taken}");
    before.assert_same(&lab.snapshot());
}

#[test]
fn a_context_is_refused_without_selinux() {
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        return lab::skip("this kernel runs with SELinux");
    }
    let lab = Lab::new("tap-selinux");
    let pod = lab.pod("a");
    let conf = conf(&lab, &json!({"selinuxContext": "system_u:system_r:container_t:s0"}));
    let refused = lab.plugin("tap").add(&pod, "eth0", &conf).error();
    assert_eq!(refused["code"], 2, "{refused}");
    assert!(!pod.has_link("eth0"));
}
