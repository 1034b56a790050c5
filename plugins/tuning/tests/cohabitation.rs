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

/// Whether the reference accepts what it made itself: Debian 12's CHECK does not know `IFNAME` in keys,
/// nor its ADD the queue's length.
fn knows_all(both: [&Bins; 2]) -> bool {
    let of_reference = |bins: &&Bins| {
        let stage = Stage::new("tune-known");
        let mut conf = conf(&stage);
        conf["prevResult"] = stage.run_of(bins, "ADD", &conf).ok();
        stage.run_of(bins, "CHECK", &conf).success()
    };
    let knows =
        both.into_iter().filter(|bins| bins.name() == "reference").all(|b| of_reference(&b));
    if !knows {
        lab::skip("CHECK of these reference plugins refuses what their tuning made");
    }
    knows
}

/// ADD by the first, CHECK by both, DEL by the second, which puts the interface back.
fn handed_over(first: &Bins, second: &Bins) {
    let stage = Stage::new("tune-handed");
    let before = stage.state();
    let mut conf = conf(&stage);
    let knows_all = knows_all([first, second]);
    if !knows_all {
        conf.as_object_mut().expect("an object").remove("txQLen");
    }
    conf["prevResult"] = stage.run_of(first, "ADD", &conf).ok();
    for bins in [first, second].into_iter().filter(|_| knows_all) {
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
