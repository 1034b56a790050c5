//! The reference plugin and ours on one node: each checks and removes what the other made. Needs
//! root and the reference plugins.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helper fails the test"
)]

mod stage;

use lab::Bins;
use serde_json::{Value, json};
use stage::{Attached, SOON, Stage};

const WAYS: [&str; 2] = ["iptables", "legacy"];

fn reference() -> Option<Bins> {
    let bins = lab::reference()?;
    if bins.program("firewall").is_file() {
        return Some(bins);
    }
    lab::skip("the reference plugins have no firewall here");
    None
}

fn conf(stage: &Stage, pod: &Attached, keys: &Value) -> Value {
    let mut conf = stage.conf(pod, keys);
    conf["cniVersion"] = json!("1.0.0");
    conf["prevResult"]["cniVersion"] = json!("1.0.0");
    conf
}

/// Whether the reference knows the policy `isolated`: Debian 12's does not.
fn knows_isolated(reference: &Bins) -> bool {
    let stage = Stage::new("isolated", WAYS[0]);
    let a = stage.pod("a", 9, 2);
    let conf = conf(&stage, &a, &json!({"ingressPolicy": "isolated"}));
    let knows = stage.plugin_of(reference).attachment("ADD", &a.pod, "eth0", &conf).success();
    if !knows {
        lab::skip("these reference plugins do not know the ingress policy isolated");
    }
    knows
}

#[test]
fn each_checks_and_removes_what_the_other_made() {
    let Some(reference) = reference() else { return };
    let ours = Bins::ours();
    let policy = if knows_isolated(&reference) { "isolated" } else { "open" };
    for way in WAYS {
        for (first, second) in [(&reference, &ours), (&ours, &reference)] {
            for keys in
                [json!({}), json!({"ingressPolicy": policy, "iptablesAdminChainName": "SITE"})]
            {
                let stage = Stage::new("cohabit", way);
                let a = stage.pod("a", 9, 2);
                let _server = stage.outside.tcp_echo(80);
                let conf = conf(&stage, &a, &keys);
                let run = |bins: &Bins, verb: &str| {
                    let outcome = stage.plugin_of(bins).attachment(verb, &a.pod, "eth0", &conf);
                    assert!(
                        outcome.success(),
                        "{way}: {} of {}'s: {outcome}",
                        bins.name(),
                        first.name()
                    );
                };
                run(first, "ADD");
                a.pod.tcp(stage.outside_address(0, 80)).expect("admitted");
                run(first, "CHECK");
                run(second, "CHECK");
                run(second, "DEL");
                a.pod.tcp_within(stage.outside_address(0, 80), SOON).expect_err("removed");
                for text in ["10.9.0.", "fd00:9:"] {
                    assert_eq!(stage.rules_with(text), Vec::<String>::new(), "{way}");
                }
                run(first, "DEL");
                assert_eq!(stage.rules_with("podloom firewall"), Vec::<String>::new());
                assert_eq!(stage.files(), Vec::<String>::new());
            }
        }
    }
}

#[test]
fn both_share_chains_and_keep_their_own_isolation() {
    let Some(reference) = reference() else { return };
    for way in WAYS {
        let stage = Stage::new("shared", way);
        for program in stage.programs().unwrap() {
            stage.lab.node().sh(&program, &["-P", "FORWARD", "ACCEPT"]);
        }
        let (a, b) = (stage.pod("a", 9, 2), stage.pod("b", 8, 3));
        let _servers = (a.pod.tcp_echo(80), b.pod.tcp_echo(80));
        let keys = json!({"ingressPolicy": "same-bridge"});
        let (theirs, own) = (conf(&stage, &a, &keys), conf(&stage, &b, &keys));
        stage.plugin_of(&reference).attachment("ADD", &a.pod, "eth0", &theirs).ok();
        stage.run("ADD", &b, &own).ok();
        stage.plugin_of(&reference).attachment("CHECK", &b.pod, "eth0", &own).ok();
        // Bridges that either has isolated do not reach each other.
        for family in [0, 1] {
            a.pod.tcp_within(b.address(family, 80), SOON).expect_err("theirs to ours");
            b.pod.tcp_within(a.address(family, 80), SOON).expect_err("ours to theirs");
        }
        // One jump of each kind in each family.
        for jump in ["-j CNI-FORWARD", "-j CNI-ADMIN", "-A CNI-ISOLATION-STAGE-1 -m comment"] {
            assert_eq!(stage.rules_with(jump).len(), 2, "{way}: {jump}: {}", stage.rules());
        }
        // The reference takes no isolation away, and ours not theirs.
        stage.run("DEL", &b, &own).ok();
        assert_eq!(stage.rules_with("br8"), Vec::<String>::new(), "{way}");
        assert!(!stage.rules_with("br9").is_empty(), "{way}");
        stage.plugin_of(&reference).attachment("DEL", &a.pod, "eth0", &theirs).ok();
        stage.plugin().gc(&stage.conf(&a, &keys), &[]).ok();
        assert!(!stage.rules_with("br9").is_empty(), "{way}: the bridge is there");
        stage.lab.node().ip("link del br9");
        stage.plugin().gc(&stage.conf(&a, &keys), &[]).ok();
        assert_eq!(stage.rules_with("br9"), Vec::<String>::new(), "{way}");
    }
}
