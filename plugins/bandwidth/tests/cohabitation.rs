//! The reference plugin and ours on one node, each cleaning up after the other. Needs root and the
//! reference plugins.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use lab::Bins;
use serde_json::{Value, json};
use stage::{Stage, conf};

/// Limits as a runtime writes them, and with a burst that is taken as it is.
fn all_limits() -> [Value; 2] {
    let any = u64::from(u32::MAX);
    [
        json!({"ingressRate": 15_000_000, "ingressBurst": 1_500_000,
            "egressRate": 15_000_000, "egressBurst": 1_500_000}),
        json!({"runtimeConfig": {"bandwidth": {"ingressRate": 15_000_000, "ingressBurst": any,
            "egressRate": 15_000_000, "egressBurst": any}}}),
    ]
}

/// In the version that every reference speaks.
fn old(keys: &Value, result: &Value) -> Value {
    let mut conf = conf(keys, result);
    conf["cniVersion"] = json!("0.4.0");
    conf["prevResult"]["cniVersion"] = json!("0.4.0");
    for ip in conf["prevResult"]["ips"].as_array_mut().into_iter().flatten() {
        let four = ip["address"].as_str().is_some_and(|a| a.contains('.'));
        ip["version"] = json!(if four { "4" } else { "6" });
    }
    conf
}

fn with_result(conf: &Value, result: &Value) -> Value {
    let mut conf = conf.clone();
    conf["prevResult"] = result.clone();
    conf
}

#[test]
fn ours_checks_and_removes_what_the_reference_made() {
    let Some(reference) = lab::reference() else { return };
    let Some(stage) = Stage::new("reference-first") else { return };
    for keys in all_limits() {
        let (pod, result) = stage.pod("a");
        let conf = old(&keys, &result);
        let shaped = stage.run_of(&reference, "ADD", &pod, &conf).ok();
        stage.run("CHECK", &pod, &with_result(&conf, &shaped)).ok();
        assert_eq!(stage.ifbs().len(), 1);
        stage.run("DEL", &pod, &conf).ok();
        assert!(stage.ifbs().is_empty());
        // Now it is ours, and goes back.
        let shaped = stage.run("ADD", &pod, &conf).ok();
        stage.run("CHECK", &pod, &with_result(&conf, &shaped)).ok();
        stage.run_of(&reference, "DEL", &pod, &conf).ok();
        assert!(stage.ifbs().is_empty());
        stage.lab.plugin("bridge").del(&pod, "eth0", &stage.bridge()).ok();
    }
}

#[test]
fn the_reference_checks_what_ours_made_of_a_burst_that_is_taken_as_it_is() {
    let Some(reference) = lab::reference() else { return };
    let Some(stage) = Stage::new("ours-first") else { return };
    let (pod, result) = stage.pod("a");
    let [plain, _] = all_limits();
    let conf = old(&plain, &result);
    let shaped = stage.run("ADD", &pod, &conf).ok();
    let seen = stage.run_of(&reference, "CHECK", &pod, &with_result(&conf, &shaped));
    assert!(seen.success(), "{seen}");
}

/// What this plugin is for: the same pod has 2 Gbit at once by the reference.
#[test]
fn the_first_second_of_the_reference_is_beyond_the_limit() {
    let Some(reference) = lab::reference() else { return };
    let Some(stage) = Stage::new("reference-burst") else { return };
    let (pod, result) = stage.pod("a");
    let [_, any] = all_limits();
    stage.run_of(&Bins::at(reference.dir(), "reference"), "ADD", &pod, &old(&any, &result)).ok();
    stage.egress(&pod).assert_beyond(15_000_000, "the reference's first second");
}
