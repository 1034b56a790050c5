//! The reference plugin and ours on one node, each putting back what the other changed. Needs root
//! and the reference plugins.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use lab::Bins;
use serde_json::{Value, json};
use stage::{Stage, all};

/// Everything at once, in the version that each speaks.
fn conf(stage: &Stage) -> Value {
    let mut conf = stage.conf(&all());
    conf["cniVersion"] = json!("0.4.0");
    let result = json!({
        "cniVersion": "0.4.0",
        "interfaces": stage.result["interfaces"],
        "ips": [{"version": "4", "interface": 1, "address": "10.33.0.1/24"}],
    });
    conf["prevResult"] = result;
    conf
}

/// ADD by the first, CHECK by both, DEL by the second, which puts the interface back.
fn handed_over(first: &Bins, second: &Bins) {
    let stage = Stage::new("tune-handed");
    let before = stage.state();
    let mut conf = conf(&stage);
    conf["prevResult"] = stage.run_of(first, "ADD", &conf).ok();
    for bins in [first, second] {
        let seen = stage.run_of(bins, "CHECK", &conf);
        assert!(seen.success(), "{} of {}'s: {seen}", bins.name(), first.name());
    }
    assert_ne!(stage.state(), before);
    assert_eq!(stage.files(), [format!("{}_eth0.json", stage.pod.id())]);
    stage.run_of(second, "DEL", &conf).ok();
    assert_eq!(stage.state().without_sysctls(), before.without_sysctls());
    assert!(stage.files().is_empty());
}

#[test]
fn podloom_puts_back_what_the_reference_changed() {
    let Some(reference) = lab::reference() else { return };
    handed_over(&reference, &Bins::ours());
}

#[test]
fn the_reference_puts_back_what_podloom_changed() {
    let Some(reference) = lab::reference() else { return };
    handed_over(&Bins::ours(), &reference);
}
