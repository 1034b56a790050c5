//! DEL and GC: nothing of an attachment stays, in whatever state it is found. Needs root.

mod stage;

use lab::{Kill, Lab};
use serde_json::json;
use stage::{add, dual, leases, plain, port, with_result};

const BACKENDS: [&str; 2] = ["nftables", "iptables"];

/// A dual-stack configuration with all rules there are.
fn full(lab: &Lab, backend: &str) -> serde_json::Value {
    dual(lab, json!({"ipMasq": true, "ipMasqBackend": backend, "macspoofchk": true}))
}

/// A lab in which everything that pods share is there.
fn seasoned(name: &str, backend: &str) -> Lab {
    let lab = Lab::new(name);
    let pod = lab.pod("first");
    let conf = full(&lab, backend);
    add(&lab, &pod, &conf);
    lab.plugin("bridge").del(&pod, "eth0", &conf).ok();
    lab
}

#[test]
fn del_is_complete_however_little_it_is_told() {
    for backend in BACKENDS {
        let lab = seasoned("bridge-del", backend);
        let (conf, before) = (full(&lab, backend), lab.snapshot());
        let bridge = lab.plugin("bridge");
        for (index, name) in
            ["whole", "empty", "gone", "gone-known", "link-gone"].iter().enumerate()
        {
            let pod = lab.pod(name);
            let result = add(&lab, &pod, &conf);
            assert!(!before.diff(&lab.snapshot()).is_empty());
            match index {
                0 => drop(bridge.del(&pod, "eth0", &conf).ok()),
                1 => drop(bridge.del_without_netns(&pod, "eth0", &conf).ok()),
                2 => {
                    pod.delete();
                    bridge.del(&pod, "eth0", &conf).ok();
                }
                3 => {
                    pod.delete();
                    bridge.del_without_netns(&pod, "eth0", &with_result(&conf, &result)).ok();
                }
                _ => {
                    pod.ip("link del eth0");
                    bridge.del(&pod, "eth0", &conf).ok();
                }
            }
            before.assert_same(&lab.snapshot());
            bridge.del(&pod, "eth0", &conf).ok();
            bridge.del_without_netns(&pod, "eth0", &with_result(&conf, &result)).ok();
            before.assert_same(&lab.snapshot());
        }
    }
}

#[test]
fn del_does_not_judge_the_configuration() {
    let lab = seasoned("bridge-lenient", "nftables");
    let (mut conf, before) = (full(&lab, "nftables"), lab.snapshot());
    let pod = lab.pod("a");
    add(&lab, &pod, &conf);
    conf["mtu"] = json!("1500");
    conf["vlan"] = json!(9999);
    conf["ipMasqBackend"] = json!("gone");
    lab.plugin("bridge").del(&pod, "eth0", &conf).ok();
    before.assert_same(&lab.snapshot());
}

#[test]
fn del_leaves_the_links_of_others_alone() {
    let lab = Lab::new("bridge-others");
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let conf = dual(&lab, json!({}));
    add(&lab, &a, &conf);
    // No veth: nothing that this plugin can have made.
    b.ip("link add eth0 type bridge");
    let before = lab.snapshot();
    lab.plugin("bridge").del(&b, "eth0", &conf).ok();
    assert!(b.has_link("eth0"));
    before.assert_same(&lab.snapshot());
    assert!(a.has_link("eth0"));
}

#[test]
fn gc_takes_what_nobody_owns_and_nothing_else() {
    for backend in BACKENDS {
        let lab = seasoned("bridge-gc", backend);
        let conf = full(&lab, backend);
        let other = {
            let mut conf = conf.clone();
            conf["name"] = json!("other");
            conf
        };
        let (kept, lost, foreign) = (lab.pod("kept"), lab.pod("lost"), lab.pod("foreign"));
        let result = add(&lab, &kept, &conf);
        add(&lab, &foreign, &other);
        let before = lab.snapshot();
        add(&lab, &lost, &conf);
        let valid = [(kept.id(), "eth0")];
        lab.plugin("bridge").gc(&conf, &valid).ok();
        before.assert_same(&lab.snapshot());
        assert!(!lost.has_link("eth0"));
        lab.plugin("bridge").check(&kept, "eth0", &conf, &result).ok();
        lab.plugin("bridge").gc(&conf, &valid).ok();
        before.assert_same(&lab.snapshot());
        kept.ping("10.88.0.1".parse().expect("ip")).expect("the gateway");
        foreign.ping("10.88.0.1".parse().expect("ip")).expect("the gateway");
    }
}

#[test]
fn gc_finds_a_port_without_an_owner() {
    let lab = Lab::new("bridge-orphan");
    let (pod, kept) = (lab.pod("a"), lab.pod("b"));
    let conf = plain(json!({}));
    let result = add(&lab, &pod, &conf);
    add(&lab, &kept, &conf);
    // As if killed between making the pair and naming its owner.
    lab.node().sh("ip", &["link", "set", port(&result), "alias", ""]);
    let mut elsewhere = conf.clone();
    elsewhere["bridge"] = json!("cni1");
    elsewhere["name"] = json!("other");
    lab.plugin("bridge").gc(&elsewhere, &[]).ok();
    assert!(pod.has_link("eth0"));
    lab.plugin("bridge").gc(&conf, &[(kept.id(), "eth0")]).ok();
    assert!(!pod.has_link("eth0") && kept.has_link("eth0"));
}

#[test]
fn a_replaced_pod_gets_its_interface() {
    let lab = Lab::new("bridge-replaced");
    let conf = plain(json!({}));
    let old = lab.pod("old").with_id("same");
    add(&lab, &old, &conf);
    // A new namespace for the same container, with no DEL between.
    let new = lab.pod("new").with_id("same");
    add(&lab, &new, &conf);
    assert!(new.has_link("eth0") && !old.has_link("eth0"));
}

#[test]
fn a_killed_add_leaves_nothing_that_del_or_gc_cannot_take() {
    let lab = seasoned("bridge-killed", "nftables");
    let (conf, before) = (full(&lab, "nftables"), lab.snapshot());
    let bridge = lab.plugin("bridge");
    for call in (40..200).step_by(8) {
        let pod = lab.pod(&format!("a{call}"));
        let outcome = bridge.clone().kill(Kill::AtSyscall(call)).add(&pod, "eth0", &conf);
        if call % 16 == 0 {
            bridge.del(&pod, "eth0", &conf).ok();
        } else {
            bridge.gc(&conf, &[]).ok();
        }
        assert!(!pod.has_link("eth0"), "{call}: {outcome}");
        before.assert_same(&lab.snapshot());
        assert_eq!(leases(&lab), Vec::<String>::new(), "{call}: {outcome}");
        add(&lab, &pod, &conf);
        bridge.del(&pod, "eth0", &conf).ok();
    }
}

#[test]
fn attachments_of_the_reference_are_removed_and_the_reverse() {
    let Some(reference) = lab::reference() else { return };
    let lab = Lab::new("bridge-cohabit");
    // What every release of the reference knows.
    let mut conf = dual(&lab, json!({"cniVersion": "1.0.0", "ipMasq": true}));
    conf["ipMasqBackend"] = json!("iptables");
    let (ours, theirs) = (lab.plugin("bridge"), lab.plugin_of(&reference, "bridge"));
    let warm = lab.pod("warm");
    let result = theirs.add(&warm, "eth0", &conf).ok();
    theirs.del(&warm, "eth0", &with_result(&conf, &result)).ok();
    let before = lab.snapshot();

    let pod = lab.pod("a");
    let result = theirs.add(&pod, "eth0", &conf).ok();
    ours.check(&pod, "eth0", &conf, &result).ok();
    ours.del(&pod, "eth0", &with_result(&conf, &result)).ok();
    before.assert_same(&lab.snapshot());

    // The namespace cannot be entered, so the result names the port.
    let pod = lab.pod("b");
    let result = theirs.add(&pod, "eth0", &conf).ok();
    ours.del_without_netns(&pod, "eth0", &with_result(&conf, &result)).ok();
    before.assert_same(&lab.snapshot());

    let pod = lab.pod("c");
    let result = ours.add(&pod, "eth0", &conf).ok();
    theirs.check(&pod, "eth0", &conf, &result).ok();
    theirs.del(&pod, "eth0", &with_result(&conf, &result)).ok();
    // They know nothing of our record of the rules; it goes with the next GC, or at a reboot.
    conf["cniVersion"] = json!("1.1.0");
    ours.gc(&conf, &[]).ok();
    before.assert_same(&lab.snapshot());
}
