//! What is made, compared, taken away and left alone. Needs root.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use lab::for_golden;
use serde_json::{Value, json};
use stage::{Stage, conf};

fn limits() -> Value {
    json!({"ingressRate": 20_000_000, "ingressBurst": 2_000_000, "egressRate": 10_000_000})
}

fn qdiscs(stage: &Stage, link: &str) -> String {
    stage.lab.node().sh("tc", &["qdisc", "show", "dev", link])
}

/// The node's end of the pod's link.
fn host_link(result: &Value) -> String {
    result["interfaces"][1]["name"].as_str().expect("a link").to_owned()
}

#[test]
fn what_is_made_is_reported_and_taken_away() {
    let Some(stage) = Stage::new("life") else { return };
    let (pod, result) = stage.pod("a");
    let (before, link) = (stage.lab.snapshot(), host_link(&result));
    let bare = qdiscs(&stage, &link);
    let conf = conf(&limits(), &result);
    let mut shaped = stage.run("ADD", &pod, &conf).ok();
    // As tc shows what the reference plugin makes: 20 Mbit/s with 250 kB, 25 ms.
    let shown = qdiscs(&stage, &link);
    assert!(
        shown.contains("tbf 1: root") && shown.contains("rate 20Mbit burst 250000b lat 25ms"),
        "{shown}"
    );
    let ifb = stage.ifbs().pop().expect("an ifb");
    let shown = qdiscs(&stage, &ifb);
    assert!(shown.contains("rate 10Mbit burst 50000b lat 100ms"), "{shown}");
    let again = stage.run("ADD", &pod, &conf).ok();
    assert_eq!(again["interfaces"][3]["name"], shaped["interfaces"][3]["name"]);
    assert_eq!(stage.ifbs(), std::slice::from_ref(&ifb));
    stage.lab.plugin("bandwidth").check(&pod, "eth0", &conf, &again).ok();
    shaped["interfaces"][1]["name"] = json!("LINK");
    let golden: Value = serde_json::from_str(include_str!("golden/result.json")).expect("JSON");
    assert_eq!(for_golden(&shaped, &pod), golden);
    stage.run("DEL", &pod, &conf).ok();
    stage.run("DEL", &pod, &conf).ok();
    before.assert_same(&stage.lab.snapshot());
    assert_eq!(qdiscs(&stage, &link), bare);
}

#[test]
fn a_pod_without_limits_is_left_alone() {
    let Some(stage) = Stage::new("life-none") else { return };
    let (pod, result) = stage.pod("a");
    let before = stage.lab.snapshot();
    for keys in
        [json!({}), json!({"ingressRate": 0, "ingressBurst": 0}), json!({"runtimeConfig": {}})]
    {
        let passed = stage.run("ADD", &pod, &conf(&keys, &result)).ok();
        assert_eq!(passed, result);
        stage.lab.plugin("bandwidth").check(&pod, "eth0", &conf(&keys, &result), &result).ok();
        stage.run("DEL", &pod, &conf(&keys, &result)).ok();
    }
    before.assert_same(&stage.lab.snapshot());
}

#[test]
fn traffic_control_of_another_program_is_left_alone() {
    let Some(stage) = Stage::new("life-taken") else { return };
    let (pod, result) = stage.pod("a");
    let link = host_link(&result);
    for (words, what) in [
        ("qdisc add dev LINK clsact", "receives"),
        ("qdisc add dev LINK root handle 7: pfifo limit 5", "sends"),
        ("qdisc add dev LINK root handle 7: tbf rate 1mbit burst 2k latency 5ms", "sends"),
    ] {
        let words = words.replace("LINK", &link);
        stage.lab.node().sh("tc", &words.split(' ').collect::<Vec<_>>());
        let (before, bare) = (stage.lab.snapshot(), qdiscs(&stage, &link));
        let refused = stage.run("ADD", &pod, &conf(&limits(), &result)).error();
        assert_eq!(refused["code"], 102, "{refused}");
        assert!(
            refused["msg"].as_str().is_some_and(|msg| msg.contains(&link) && msg.contains(what))
        );
        before.assert_same(&stage.lab.snapshot());
        stage.run("DEL", &pod, &conf(&limits(), &result)).ok();
        assert_eq!(qdiscs(&stage, &link), bare);
        let place = if what == "sends" { "root" } else { "clsact" };
        stage.lab.node().sh("tc", &["qdisc", "del", "dev", &link, place]);
    }
}

#[test]
fn each_interface_of_a_container_has_an_ifb() {
    let Some(stage) = Stage::new("life-two") else { return };
    let (pod, first) = stage.pod("a");
    let second = stage.lab.plugin("bridge").add(&pod, "net1", &stage.bridge()).ok();
    let plugin = stage.lab.plugin("bandwidth");
    let before = stage.lab.snapshot();
    let (one, two) = (conf(&limits(), &first), conf(&limits(), &second));
    let of_first = plugin.add(&pod, "eth0", &one).ok();
    let of_second = plugin.add(&pod, "net1", &two).ok();
    assert_eq!(stage.ifbs().len(), 2);
    plugin.check(&pod, "eth0", &one, &of_first).ok();
    plugin.check(&pod, "net1", &two, &of_second).ok();
    plugin.gc(&one, &[(pod.id(), "eth0")]).ok();
    assert_eq!(stage.ifbs(), [of_first["interfaces"][3]["name"].as_str().expect("a name")]);
    plugin.add(&pod, "net1", &two).ok();
    plugin.del(&pod, "eth0", &one).ok();
    plugin.check(&pod, "net1", &two, &of_second).ok();
    plugin.del_without_netns(&pod, "net1", &two).ok();
    before.assert_same(&stage.lab.snapshot());
}

#[test]
fn check_names_what_is_different() {
    let Some(stage) = Stage::new("life-drift") else { return };
    let (pod, result) = stage.pod("a");
    let link = host_link(&result);
    let mut listed = limits();
    listed["shapedSubnets"] = json!(["192.0.2.0/24"]);
    for (keys, words, about) in [
        (limits(), "tc qdisc del dev LINK root", "LINK"),
        (
            limits(),
            "tc qdisc change dev LINK root tbf rate 21mbit burst 250000 latency 25ms",
            "LINK",
        ),
        (limits(), "tc filter del dev LINK ingress", "LINK"),
        (limits(), "tc qdisc del dev LINK ingress", "LINK"),
        (limits(), "tc qdisc del dev IFB root", "IFB"),
        (limits(), "ip link set IFB down", "IFB"),
        (limits(), "ip link del IFB", "LINK"),
        (listed.clone(), "tc filter del dev LINK parent 1:", "LINK"),
        (listed, "tc class change dev LINK classid 1:1 htb rate 21mbit", "LINK"),
    ] {
        let conf = conf(&keys, &result);
        let shaped = stage.run("ADD", &pod, &conf).ok();
        let plugin = stage.lab.plugin("bandwidth");
        plugin.check(&pod, "eth0", &conf, &shaped).ok();
        let ifb = stage.ifbs().pop().expect("an ifb");
        let name = |text: &str| text.replace("LINK", &link).replace("IFB", &ifb);
        let changed = name(words);
        let (program, rest) = changed.split_once(' ').expect("words");
        stage.lab.node().sh(program, &rest.split(' ').collect::<Vec<_>>());
        let seen = plugin.check(&pod, "eth0", &conf, &shaped);
        assert!(!seen.success(), "not seen: {words}");
        assert_eq!(seen.code(), 103, "{words}: {seen}");
        assert!(seen.msg().contains(&name(about)), "{words}: {seen}");
        stage.run("DEL", &pod, &conf).ok();
        assert!(stage.ifbs().is_empty(), "after {words}");
    }
}

/// An ifb that does not tell its owner is deleted when no living pod sends by it, and only then.
#[test]
fn gc_judges_an_unnamed_ifb_by_its_traffic() {
    let Some(stage) = Stage::new("life-unnamed") else { return };
    let (pod, result) = stage.pod("a");
    let conf = conf(&limits(), &result);
    stage.run("ADD", &pod, &conf).ok();
    let ifb = stage.ifbs().pop().expect("an ifb");
    let node = stage.lab.node();
    node.sh("ip", &["link", "set", &ifb, "alias", ""]);
    node.ip("link add bwp0123456789ab type ifb");
    node.ip("link add bwp-other type ifb");
    // That of a container of another runtime: printf %s netpod-b | sha512sum
    node.ip("link add bwp95ce67fa1643 type ifb");
    let record = stage.lab.cache_dir().join("results/net-pod-b-eth0");
    std::fs::write(&record, "{}").expect("a record");
    let plugin = stage.lab.plugin("bandwidth");
    let mut other = conf.clone();
    other["name"] = json!("other");
    for network in [&conf, &other] {
        plugin.gc(network, &[]).ok();
        assert!(node.has_link(&ifb), "a living pod's ifb is gone");
        assert!(!node.has_link("bwp0123456789ab") && node.has_link("bwp-other"));
        assert!(node.has_link("bwp95ce67fa1643"), "a recorded container's ifb is gone");
    }
    std::fs::remove_file(&record).expect("remove a record");
    stage.lab.plugin("bridge").del(&pod, "eth0", &stage.bridge()).ok();
    plugin.gc(&other, &[]).ok();
    assert_eq!(stage.ifbs(), ["bwp-other"], "ifbs without traffic stay");
}

#[test]
fn wrong_places_are_refused() {
    let Some(stage) = Stage::new("life-wrong") else { return };
    let (pod, result) = stage.pod("a");
    let before = stage.lab.snapshot();
    let plugin = stage.lab.plugin("bandwidth");
    let conf = conf(&limits(), &result);
    let missing = plugin.add(&pod, "net7", &conf);
    assert_eq!(missing.code(), 4, "{missing}");
    assert!(missing.msg().contains("net7"), "{missing}");
    let loopback = plugin.add(&pod, "lo", &conf);
    assert_eq!(loopback.code(), 7, "{loopback}");
    for ifname in ["net7", "lo"] {
        plugin.del(&pod, ifname, &conf).ok();
    }
    before.assert_same(&stage.lab.snapshot());
}

/// What is behind a tap is the guest: it receives what the tap sends.
#[test]
fn a_tap_is_limited_from_the_guests_side() {
    let Some(stage) = Stage::new("life-tap") else { return };
    let pod = stage.lab.pod("a");
    pod.ip("tuntap add dev eth0 mode tap");
    let result = json!({"cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0", "sandbox": pod.path()}]});
    let conf = conf(&limits(), &result);
    let shaped = stage.run("ADD", &pod, &conf).ok();
    let shown = |link: &str| pod.sh("tc", &["qdisc", "show", "dev", link]);
    let ifb = shaped["interfaces"][1]["name"].as_str().expect("an ifb").to_owned();
    assert!(shown("eth0").contains("rate 20Mbit"), "{}", shown("eth0"));
    assert!(shown(&ifb).contains("rate 10Mbit"), "{}", shown(&ifb));
    stage.lab.plugin("bandwidth").check(&pod, "eth0", &conf, &shaped).ok();
    stage.run("DEL", &pod, &conf).ok();
    assert!(!pod.has_link(&ifb) && !shown("eth0").contains("tbf"));
}

#[test]
fn status_tells_whether_the_kernel_can() {
    let Some(stage) = Stage::new("life-status") else { return };
    let plugin = stage.lab.plugin("bandwidth");
    let before = stage.lab.snapshot();
    let mut listed = limits();
    listed["unshapedSubnets"] = json!(["10.0.0.0/8", "fd00::/8"]);
    for keys in [json!({}), limits(), listed] {
        plugin.status(&conf(&keys, &Value::Null)).ok();
    }
    let wrong = plugin.status(&conf(&json!({"egressRate": 1}), &Value::Null));
    assert_eq!(wrong.code(), 50, "{wrong}");
    before.assert_same(&stage.lab.snapshot());
}
