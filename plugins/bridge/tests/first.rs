//! The very first pod of a node: it, its gateway and hosts beyond reach each other as soon as ADD
//! returns, although bridge and gateway are as new as the pod. Needs root.

mod stage;

use lab::Lab;
use serde_json::{Value, json};
use stage::{add, dual, lab_with_vlans};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Of a question that is lost the kernel asks again after a second; detection of duplicates takes
/// it one to two.
const AT_ONCE: Duration = Duration::from_millis(800);
const GATEWAYS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 88, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, 1)),
];
const OUTSIDE: [&str; 2] = ["192.0.2.0/24", "2001:db8::/64"];

fn gateways_answer_at_once(labs: impl Fn() -> Option<Lab>, more: &Value) -> Result<(), String> {
    // A node of its own for each, as the first packet of any kind may wake the bridge.
    for gateway in GATEWAYS {
        let Some(lab) = labs() else { return Ok(()) };
        let pod = lab.pod("a");
        add(&lab, &pod, &dual(&lab, more.clone()));
        pod.ping_within(gateway, AT_ONCE)?;
    }
    Ok(())
}

fn hosts_outside_come_in_at_once(
    labs: impl Fn() -> Option<Lab>,
    more: &Value,
) -> Result<(), String> {
    for index in [0, 1] {
        let Some(lab) = labs() else { return Ok(()) };
        let (pod, outside) = (lab.pod("a"), lab.outside("host", &OUTSIDE));
        let result = add(&lab, &pod, &dual(&lab, more.clone()));
        outside.ping_within(lab::address(&result, index), AT_ONCE)?;
    }
    Ok(())
}

#[test]
fn the_first_pod_reaches_its_gateway_at_once() -> Result<(), String> {
    gateways_answer_at_once(|| Some(Lab::new("bridge-first")), &json!({}))
}

#[test]
fn the_first_pod_reaches_the_gateway_of_its_vlan_at_once() -> Result<(), String> {
    gateways_answer_at_once(|| lab_with_vlans("bridge-first-vlan"), &json!({"vlan": 100}))
}

#[test]
fn the_first_pod_is_reached_from_outside_at_once() -> Result<(), String> {
    hosts_outside_come_in_at_once(|| Some(Lab::new("bridge-outside")), &json!({}))
}

#[test]
fn the_first_pod_of_a_vlan_is_reached_from_outside_at_once() -> Result<(), String> {
    hosts_outside_come_in_at_once(|| lab_with_vlans("bridge-outside-vlan"), &json!({"vlan": 100}))
}

#[test]
fn enabledad_is_for_the_bridge_too() {
    for (more, want) in [(json!({}), "0"), (json!({"enabledad": true}), "1")] {
        let lab = Lab::new("bridge-first-dad");
        add(&lab, &lab.pod("a"), &dual(&lab, more));
        assert_eq!(lab.node().sysctl("net/ipv6/conf/cni0/accept_dad"), want);
    }
}

#[test]
fn a_bridge_of_somebody_else_keeps_its_settings() {
    let lab = Lab::new("bridge-first-foreign");
    let pod = lab.pod("a");
    // With a spanning tree the bridge has no carrier for half a minute; ADD does not wait for it.
    lab.node().ip("link add cni0 type bridge stp_state 1");
    let start = Instant::now();
    add(&lab, &pod, &dual(&lab, json!({})));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(lab.node().sysctl("net/ipv6/conf/cni0/accept_dad"), "1");
}
