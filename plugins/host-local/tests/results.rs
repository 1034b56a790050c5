//! The result of ADD in each version of the specification, and refusals of hostile input.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use serde_json::{Value, json};
use stage::{Stage, ours, reference};
use std::path::Path;

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

fn conf(stage: &Stage, version: &str, routes: &Value) -> Value {
    let resolv = stage.data.join("resolv.conf");
    std::fs::write(&resolv, "nameserver 192.0.2.53\nsearch a.example\noptions ndots:2\n")
        .expect("resolv.conf");
    let mut conf = stage.conf();
    conf["cniVersion"] = json!(version);
    conf["ipam"]["resolvConf"] = json!(resolv);
    conf["ipam"]["routes"] = routes.clone();
    conf
}

fn stage() -> Stage {
    Stage::new(json!([
        [{"subnet": "10.7.0.0/24", "rangeStart": "10.7.0.10", "gateway": "10.7.0.254"}],
        [{"subnet": "fd07::/64"}]
    ]))
}

#[test]
fn each_version_has_its_golden_result() {
    let routes = json!([
        {"dst": "0.0.0.0/0"},
        {"dst": "10.96.0.0/12", "gw": "10.7.0.1", "mtu": 1400, "advmss": 1360, "priority": 10,
         "table": 100, "scope": 253},
        {"dst": "::/0", "gw": "fd07::1"}
    ]);
    for version in VERSIONS {
        let stage = stage();
        let answer = stage.run(&ours(), "ADD", "golden", &conf(&stage, version, &routes));
        let path = format!("{}/tests/golden/{version}.json", env!("CARGO_MANIFEST_DIR"));
        let text = answer.expect(version).text;
        if std::env::var_os("PODLOOM_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, &text).expect("write");
        }
        assert_eq!(text, std::fs::read_to_string(&path).expect(&path), "{version}");
    }
}

#[test]
fn results_are_those_of_the_reference() {
    let Some(reference) = reference() else { return };
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd07::1"}]);
    // Debian's reference may be older than 1.1.0.
    for version in &VERSIONS[..6] {
        let (one, two) = (stage(), stage());
        let own = one.run(&ours(), "ADD", "c", &conf(&one, version, &routes)).expect("ADD");
        let theirs = two.run(&reference, "ADD", "c", &conf(&two, version, &routes)).expect("ADD");
        assert_eq!(own.document, theirs.document, "{version}");
        assert_eq!(one.leases(), two.leases());
        for file in ["last_reserved_ip.0", "last_reserved_ip.1", "lock"] {
            let read = |stage: &Stage| std::fs::read(stage.dir().join(file)).expect(file);
            assert_eq!(read(&one), read(&two), "{file}");
        }
    }
}

#[test]
fn requested_addresses_reach_the_result() {
    let stage = stage();
    let mut conf = stage.conf();
    conf["runtimeConfig"] = json!({"ips": ["10.7.0.77", "fd07::77/64"]});
    assert_eq!(
        stage.run(&ours(), "ADD", "a", &conf).expect("ADD").ips(),
        ["10.7.0.77", "fd07::77"]
    );
    let again = stage.run(&ours(), "ADD", "b", &conf);
    assert_eq!(again.code(), 102, "{}", again.text);
    assert!(again.text.contains("a/eth0"), "the holder is named: {}", again.text);
    let mut conf = stage.conf();
    conf["args"] = json!({"cni": {"ips": ["10.7.0.78"]}});
    assert_eq!(stage.run(&ours(), "ADD", "c", &conf).expect("ADD").ips()[0], "10.7.0.78");
    for wrong in ["10.7.0.9", "10.7.0.254", "10.8.0.1"] {
        conf["args"] = json!({"cni": {"ips": [wrong]}});
        let answer = stage.run(&ours(), "ADD", "d", &conf);
        assert_eq!(answer.code(), 7, "{wrong}: {}", answer.text);
    }
    assert_eq!(stage.leases().len(), 4);
}

#[test]
fn ranges_of_the_runtime_come_first() {
    let stage = stage();
    let mut conf = stage.conf();
    conf["runtimeConfig"] = json!({"ipRanges": [[{"subnet": "10.9.0.0/24"}]]});
    let ips = stage.run(&ours(), "ADD", "a", &conf).expect("ADD").ips();
    assert_eq!(ips, ["10.9.0.2", "10.7.0.10", "fd07::2"]);
    // DEL needs no ranges at all, nor a configuration that ADD would take.
    conf["ipam"]["ranges"] = json!("tightened");
    stage.run(&ours(), "DEL", "a", &conf).expect("DEL");
    assert!(stage.leases().is_empty());
}

#[test]
fn hostile_names_touch_nothing() {
    let stage = stage();
    let before = std::fs::read_dir(&stage.data).expect("data").count();
    for name in ["../x", "a/b", ".podloom", "..", "", "x\u{0}y"] {
        let mut conf = stage.conf();
        conf["name"] = json!(name);
        for verb in ["ADD", "DEL"] {
            let answer = stage.run(&ours(), verb, "c", &conf);
            assert!([6, 7].contains(&answer.code()), "{verb} {name:?}: {}", answer.text);
        }
    }
    for dir in ["relative/dir", "."] {
        let mut conf = stage.conf();
        conf["ipam"]["dataDir"] = json!(dir);
        assert_eq!(stage.run(&ours(), "ADD", "c", &conf).code(), 7);
    }
    for id in ["../x", ".x", "a b"] {
        assert_eq!(stage.add(&ours(), id).code(), 4, "{id}");
    }
    assert_eq!(std::fs::read_dir(&stage.data).expect("data").count(), before);
    assert!(!Path::new("relative").exists());
}
