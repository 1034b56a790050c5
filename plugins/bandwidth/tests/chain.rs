//! bridge, tuning and bandwidth in one chain, as a runtime runs them. Needs root.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use lab::Pod;
use serde_json::{Value, json};
use stage::{Stage, links};

const RATE: u32 = 15_000_000;

fn chain(stage: &Stage) -> Vec<Value> {
    let tuning = json!({"cniVersion": "1.1.0", "name": "net", "type": "tuning", "mtu": 1400,
        "mac": "02:00:00:00:09:09", "dataDir": stage.lab.data_dir(),
        "sysctl": {"net.ipv4.conf.IFNAME.arp_notify": "1"}});
    let bandwidth = json!({"cniVersion": "1.1.0", "name": "net", "type": "bandwidth",
        "capabilities": {"bandwidth": true},
        "runtimeConfig": {"bandwidth": {"ingressRate": RATE, "egressRate": RATE,
            "ingressBurst": u32::MAX, "egressBurst": u32::MAX}}});
    vec![stage.bridge(), tuning, bandwidth]
}

fn run(stage: &Stage, verb: &str, pod: &Pod, conf: &Value) -> lab::Outcome {
    let plugin = conf["type"].as_str().expect("a type");
    stage.lab.plugin(plugin).attachment(verb, pod, "eth0", conf)
}

/// ADD of each plugin with the result of the one before.
fn add(stage: &Stage, pod: &Pod) -> Value {
    chain(stage).into_iter().fold(Value::Null, |result, mut conf| {
        conf["prevResult"] = result;
        run(stage, "ADD", pod, &conf).ok()
    })
}

/// Any other verb, with the result of the whole chain.
fn with_result(stage: &Stage, verb: &str, pod: &Pod, result: &Value) {
    let mut chain = chain(stage);
    if verb == "DEL" {
        chain.reverse();
    }
    for mut conf in chain {
        conf["prevResult"] = result.clone();
        run(stage, verb, pod, &conf).ok();
    }
}

#[test]
fn a_chain_is_set_up_checked_and_taken_down() {
    let Some(stage) = Stage::new("chain") else { return };
    let warm = stage.lab.pod("warm");
    let result = add(&stage, &warm);
    with_result(&stage, "DEL", &warm, &result);
    let before = stage.lab.snapshot();
    let pod = stage.lab.pod("a");
    let result = add(&stage, &pod);
    let interfaces = result["interfaces"].as_array().expect("interfaces");
    assert_eq!(interfaces.len(), 4, "{result}");
    assert_eq!(
        (&interfaces[2]["mac"], &interfaces[2]["mtu"]),
        (&json!("02:00:00:00:09:09"), &json!(1400))
    );
    assert_eq!(interfaces[3]["name"].as_str(), stage.ifbs().first().map(String::as_str));
    with_result(&stage, "CHECK", &pod, &result);
    stage::single(&pod);
    stage.ingress(&pod, &result).assert_near(RATE, "ingress");
    stage.egress(&pod).assert_near(RATE, "egress");
    with_result(&stage, "DEL", &pod, &result);
    before.assert_same(&stage.lab.snapshot());
}

#[test]
fn a_pod_that_is_gone_leaves_nothing() {
    let Some(stage) = Stage::new("chain-gone") else { return };
    let warm = stage.lab.pod("warm");
    with_result(&stage, "DEL", &warm, &add(&stage, &warm));
    let before = stage.lab.snapshot();
    for (name, by_gc) in [("a", false), ("b", true)] {
        let pod = stage.lab.pod(name);
        let result = add(&stage, &pod);
        pod.delete();
        if by_gc {
            for conf in chain(&stage) {
                let plugin = stage.lab.plugin(conf["type"].as_str().expect("a type"));
                plugin.gc(&conf, &[]).ok();
            }
        } else {
            with_result(&stage, "DEL", &pod, &result);
        }
        lab::until("the kernel takes the links", lab::PATIENCE, || {
            links(stage.lab.node(), "veth").len() == 1
        });
        before.assert_same(&stage.lab.snapshot());
    }
}
