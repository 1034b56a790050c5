//! What is set, compared, put back and refused. Needs root.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use lab::{Kill, for_golden};
use serde_json::{Value, json};
use stage::{BACKLOG, MAC, NOTIFY, Stage, all};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

#[test]
fn everything_is_set_reported_and_put_back() {
    let stage = Stage::new("tune-all");
    let before = stage.state();
    let conf = stage.conf(&all());
    let mut result = stage.run("ADD", &conf).ok();
    let tuned = stage.state();
    let link = &stage.pod.ip_json("link show eth0")[0];
    assert_eq!((link["address"].as_str(), link["mtu"].as_u64()), (Some(MAC), Some(1400)));
    assert_eq!((stage.pod.sysctl(NOTIFY), stage.pod.sysctl(BACKLOG)), ("1".into(), "333".into()));
    assert_eq!(link["txqlen"], 77);
    stage.lab.plugin("tuning").check(&stage.pod, "eth0", &conf, &result).ok();
    // A second ADD keeps the values of before the first.
    stage.run("ADD", &conf).ok();
    assert_eq!(stage.state(), tuned);
    result["interfaces"][1]["mac"] = json!("kept");
    let mut shown = for_golden(&result, &stage.pod);
    shown["interfaces"][1]["mac"] = json!(MAC);
    let golden: Value = serde_json::from_str(include_str!("golden/result.json")).expect("JSON");
    assert_eq!(shown, golden);
    stage.run("DEL", &conf).ok();
    assert_eq!(stage.state(), before);
    assert!(stage.files().is_empty());
    stage.run("DEL", &conf).ok();
}

#[test]
fn what_is_not_asked_for_is_left_alone() {
    let stage = Stage::new("tune-none");
    let before = stage.state();
    let conf = stage.conf(&json!({"mtu": 0, "mac": "", "promisc": false, "sysctl": {}}));
    assert_eq!(stage.run("ADD", &conf).ok(), {
        let mut same = stage.result.clone();
        same["dns"] = json!({});
        same
    });
    assert_eq!((stage.state(), stage.files().len()), (before, 0));
    // A promiscuous interface is nobody's drift, where the configuration does not speak of it.
    stage.pod.ip("link set eth0 promisc on");
    stage.lab.plugin("tuning").check(&stage.pod, "eth0", &conf, &stage.result).ok();
}

#[test]
fn a_refusal_undoes_what_came_before_it() {
    let stage = Stage::new("tune-undo");
    let before = stage.state();
    for (keys, code, about) in [
        // Greater than the interface's is then.
        (
            json!({"sysctl": {"net.ipv6.conf.IFNAME.mtu": "1500"}}),
            100,
            "sysctl.net.ipv6.conf.IFNAME.mtu: ",
        ),
        (
            json!({"sysctl": {"net.ipv4.tcp_syncookies": "x"}}),
            100,
            "sysctl.net.ipv4.tcp_syncookies: ",
        ),
        (json!({"sysctl": {"net.ipv4.nosuch": "1"}}), 100, "sysctl.net.ipv4.nosuch: "),
        (json!({"sysctl": {"net.core.../kernel.panic": "1"}}), 7, "net.core.../kernel.panic"),
        (json!({"sysctl": {"kernel.panic": "1"}}), 7, "sysctl.kernel.panic: "),
        (json!({"dataDir": "/proc/nosuch"}), 5, "/proc/nosuch"),
    ] {
        let mut wanted = all();
        for (key, value) in keys.as_object().expect("keys") {
            match (key.as_str(), value.as_object()) {
                ("sysctl", Some(more)) => {
                    wanted["sysctl"].as_object_mut().expect("sysctls").extend(more.clone())
                }
                _ => wanted[key] = value.clone(),
            }
        }
        let refused = stage.run("ADD", &stage.conf(&wanted));
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.msg().contains(about), "{refused}");
        assert_eq!(stage.state(), before, "{keys}");
        assert!(stage.files().is_empty(), "{keys}");
    }
    let twice = r#"{"cniVersion": "1.1.0", "name": "net", "type": "tuning", "prevResult": {},
        "sysctl": {"net.core.somaxconn": "1", "net.core.somaxconn": "2"}}"#;
    let netns = stage.pod.path().to_string_lossy().into_owned();
    let call = lab::Call { command: "ADD", id: stage.pod.id(), netns: &netns, ifname: "eth0" };
    let refused = stage.lab.plugin("tuning").raw(&call, twice.as_bytes());
    assert_eq!(refused.code(), 7, "{refused}");
    assert!(refused.msg().contains("somaxconn"), "{refused}");
    let missing = stage.lab.plugin("tuning").add(&stage.pod, "net7", &stage.conf(&all()));
    assert_eq!(missing.code(), 4, "{missing}");
}

#[test]
fn keys_of_all_forms_reach_their_sysctl() {
    let stage = Stage::new("tune-keys");
    stage.pod.ip("link set eth0 down");
    stage.pod.ip("link set eth0 name eth0.7");
    let mut result = stage.result.clone();
    result["interfaces"][1]["name"] = json!("eth0.7");
    let keys = [
        ("net.ipv4.conf.IFNAME.arp_notify", "arp_notify"),
        ("net/ipv4/conf/IFNAME/arp_filter", "arp_filter"),
        ("net.ipv4.conf.eth0/7.arp_accept", "arp_accept"),
        ("net/ipv4/conf/eth0.7/proxy_arp", "proxy_arp"),
    ];
    let sysctl: serde_json::Map<_, _> =
        keys.iter().map(|(k, _)| ((*k).to_owned(), json!("1"))).collect();
    // An order has no value to be kept; numbers may be separated by blanks.
    let mut conf = stage.conf(&json!({"sysctl": sysctl}));
    conf["sysctl"]["net.ipv4.route.flush"] = json!("1");
    conf["sysctl"]["net.ipv4.tcp_rmem"] = json!("4096 131000  6000000");
    conf["prevResult"] = result.clone();
    let plugin = stage.lab.plugin("tuning");
    let added = plugin.add(&stage.pod, "eth0.7", &conf).ok();
    let value = |leaf: &str| stage.pod.sysctl(&format!("net/ipv4/conf/eth0.7/{leaf}"));
    for (key, leaf) in keys {
        assert_eq!(value(leaf), "1", "{key}");
    }
    plugin.check(&stage.pod, "eth0.7", &conf, &added).ok();
    stage.pod.set_sysctl("net/ipv4/conf/eth0.7/proxy_arp", "0");
    let drift = plugin.check(&stage.pod, "eth0.7", &conf, &added);
    assert_eq!(drift.code(), 103, "{drift}");
    assert!(drift.msg().contains("net/ipv4/conf/eth0.7/proxy_arp"), "{drift}");
    plugin.del(&stage.pod, "eth0.7", &conf).ok();
    for (key, leaf) in keys {
        assert_eq!(value(leaf), "0", "{key}");
    }
    // What is not there any more holds up nobody.
    plugin.add(&stage.pod, "eth0.7", &conf).ok();
    stage.pod.ip("link del eth0.7");
    plugin.del(&stage.pod, "eth0.7", &conf).ok();
    assert!(stage.files().is_empty());
}

#[test]
fn a_new_mtu_does_not_undo_a_sysctl() {
    let stage = Stage::new("tune-mtu");
    let keys = json!({"mtu": 1450, "sysctl": {"net.ipv6.conf.IFNAME.mtu": "1300"}});
    let conf = stage.conf(&keys);
    let result = stage.run("ADD", &conf).ok();
    assert_eq!(stage.pod.sysctl("net/ipv6/conf/eth0/mtu"), "1300");
    stage.lab.plugin("tuning").check(&stage.pod, "eth0", &conf, &result).ok();
}

/// `/etc/cni/tuning/allowlist.conf` of a node, below a directory that lies over `/etc`.
fn etc(stage: &Stage, list: &str) -> PathBuf {
    let etc = stage.lab.tmp_dir().join("etc");
    fs::create_dir_all(etc.join("cni/tuning")).expect("a directory");
    fs::write(etc.join("cni/tuning/allowlist.conf"), list).expect("a list");
    etc
}

#[test]
fn the_nodes_list_says_what_may_be_set() {
    let stage = Stage::new("tune-list");
    let before = stage.state();
    let conf = stage.conf(&all());
    let plugin = |list: &str| stage.lab.plugin("tuning").with_dir(etc(&stage, list), "/etc");
    for list in ["", "^net.core.somaxconn$", "net.ipv4.conf.eth0.arp_notify", "("] {
        let refused = plugin(list).add(&stage.pod, "eth0", &conf);
        assert_eq!(refused.code(), 7, "{list:?}: {refused}");
        assert_eq!(plugin(list).status(&conf).code(), 50, "{list:?}");
        assert_eq!((stage.state(), stage.files().len()), (before.clone(), 0), "{list:?}");
    }
    let list = "^net\\.core\\.\n^net\\.ipv4\\.conf\\.IFNAME\\.arp_[a-z]+$\n";
    plugin(list).status(&conf).ok();
    let result = plugin(list).add(&stage.pod, "eth0", &conf).ok();
    plugin(list).check(&stage.pod, "eth0", &conf, &result).ok();
    // A list that became shorter strands no pod.
    plugin("").del(&stage.pod, "eth0", &conf).ok();
    assert_eq!(stage.state(), before);
}

#[test]
fn gc_puts_back_and_forgets_what_is_not_valid() {
    let stage = Stage::new("tune-gc");
    let before = stage.state();
    let conf = stage.conf(&all());
    let plugin = stage.lab.plugin("tuning");
    stage.run("ADD", &conf).ok();
    let tuned = stage.state();
    let foreign = stage.lab.data_dir().join("x_y_eth0.json");
    fs::write(&foreign, r#"{"mtu": 1500}"#).expect("a file of the reference");
    fs::write(stage.lab.data_dir().join(".z_eth0.json.new"), "").expect("of a killed ADD");
    fs::write(stage.lab.data_dir().join("other"), "").expect("anything else");
    let record = stage.lab.cache_dir().join("results/net2-x_y-eth0");
    fs::write(&record, "{}").expect("a record");
    let mut other = conf.clone();
    other["name"] = json!("other");
    plugin.gc(&other, &[]).ok();
    plugin.gc(&conf, &[(stage.pod.id(), "eth0")]).ok();
    assert_eq!(stage.state(), tuned);
    assert!(foreign.exists() && stage.backup().exists());
    assert_eq!(stage.files().len(), 3, "{:?}", stage.files());
    plugin.gc(&conf, &[(stage.pod.id(), "eth1")]).ok();
    assert_eq!(stage.state(), before);
    assert!(foreign.exists() && !stage.backup().exists());
    fs::remove_file(&record).expect("remove a record");
    plugin.gc(&conf, &[]).ok();
    assert_eq!(stage.files(), ["other"]);
}

#[test]
fn a_file_of_another_namespace_is_not_of_this_one() {
    let stage = Stage::new("tune-stale");
    let before = stage.state();
    // Left by a pod of the same ID, whose namespace is gone.
    fs::write(
        stage.backup(),
        r#"{"mtu": 1111, "podloom": {"network": "net", "namespace": [1, 2]}}"#,
    )
    .expect("a file");
    stage.run("ADD", &stage.conf(&all())).ok();
    stage.run("DEL", &stage.conf(&all())).ok();
    assert_eq!(stage.state(), before);
    fs::write(stage.backup(), "{\"mtu\": 11").expect("a file that was cut off");
    stage.run("DEL", &stage.conf(&all())).ok();
    assert_eq!((stage.state(), stage.files().len()), (before, 0));
}

#[test]
fn a_killed_plugin_leaves_nothing_that_del_does_not_put_back() {
    let stage = Stage::new("tune-kill");
    let before = stage.state();
    let conf = stage.conf(&all());
    let mut killed = 0;
    for micros in (0..8000).step_by(100) {
        let moment = Kill::After(Duration::from_micros(micros));
        let verb = if micros % 200 == 0 { "ADD" } else { "DEL" };
        if verb == "DEL" {
            stage.run("ADD", &conf).ok();
        }
        let plugin = stage.lab.plugin("tuning").kill(moment);
        let outcome = plugin.attachment(verb, &stage.pod, "eth0", &conf);
        killed += u32::from(outcome.killed());
        stage.run("DEL", &conf).ok();
        assert_eq!(stage.state(), before, "{verb} killed after {micros} µs");
        assert!(stage.files().is_empty(), "{verb} killed after {micros} µs: {:?}", stage.files());
    }
    assert!(killed > 0, "nothing was killed");
}
