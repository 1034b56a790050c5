//! A pod with two interfaces: packets leave by the interface whose address they come from. Needs
//! root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helper fails the test")]

use lab::{Bins, Kill, Lab, Outcome, Pod, for_golden};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(300);

/// Two routers, each the way to a host outside; a pod on both, whose default route leads to the
/// first.
struct Stage {
    lab: Lab,
    pod: Pod,
    far: Pod,
    _routers: Vec<Pod>,
}

impl Stage {
    fn new(name: &str) -> Stage {
        let lab = Lab::new(name);
        let (pod, far) = (lab.pod("a"), lab.pod("far"));
        pod.ip("link set lo up");
        far.ip("link set lo up");
        far.ip("addr add 198.51.100.1/32 dev lo");
        far.ip("addr add 2001:db8::1/128 dev lo nodad");
        let mut routers = Vec::new();
        for (number, ifname) in [(1, "eth0"), (2, "net1")] {
            let router = lab.pod(&format!("router{number}"));
            router.set_sysctl("net/ipv4/ip_forward", "1");
            router.set_sysctl("net/ipv6/conf/all/forwarding", "1");
            link(
                &router,
                &pod,
                ("south", ifname),
                (&format!("10.{number}.0"), &format!("fd00:{number}")),
            );
            let up = format!("up{number}");
            link(
                &router,
                &far,
                ("north", &up),
                (&format!("172.16.{number}"), &format!("fd01:{number}")),
            );
            router.ip(&format!("route add default via 172.16.{number}.2"));
            router.ip(&format!("-6 route add default via fd01:{number}::2"));
            far.ip(&format!("route add 10.{number}.0.0/24 via 172.16.{number}.1"));
            far.ip(&format!("-6 route add fd00:{number}::/64 via fd01:{number}::1"));
            routers.push(router);
        }
        // Routes to link-local addresses come with the carrier, a moment later.
        lab::until("link-local routes", lab::PATIENCE, || {
            pod.ip("-6 route show").matches("fe80::/64").count() == 2
        });
        pod.ip("route add default via 10.1.0.1");
        pod.ip("-6 route add default via fd00:1::1");
        pod.ip("route add 203.0.113.0/24 via 10.2.0.1");
        Stage { lab, pod, far, _routers: routers }
    }

    fn run(&self, verb: &str, conf: &Value) -> Outcome {
        self.lab.plugin("sbr").attachment(verb, &self.pod, "net1", conf)
    }

    fn conf(&self, keys: &Value) -> Value {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "sbr", "prevResult": {
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "net1", "sandbox": self.pod.path()}],
            "ips": [
                {"interface": 0, "address": "10.2.0.2/24", "gateway": "10.2.0.1"},
                {"interface": 0, "address": "fd00:2::2/64", "gateway": "fd00:2::1"},
            ],
            "routes": [{"dst": "203.0.113.0/24", "gw": "10.2.0.1"}],
        }});
        for (key, value) in keys.as_object().into_iter().flatten() {
            conf[key] = value.clone();
        }
        conf
    }

    /// All rules and routes of the pod, but for those to its own addresses, which the kernel makes
    /// in its own time.
    fn routing(&self) -> String {
        let is_ours = |line: &&str| !line.contains("table local");
        let ask = |line: &str| {
            let listed = self.pod.ip(line);
            listed.lines().filter(is_ours).map(|l| format!("{l}\n")).collect::<String>()
        };
        let all =
            ["-4 rule show", "-6 rule show", "-4 route show table all", "-6 route show table all"];
        all.map(ask).concat()
    }

    /// Lines of rules and routes that say this.
    fn with(&self, text: &str) -> Vec<String> {
        self.routing().lines().filter(|l| l.contains(text)).map(|l| l.trim().to_owned()).collect()
    }

    /// Whether the host outside reaches the pod's second interface within this time.
    fn is_reached(&self, family: usize, limit: Duration) -> bool {
        let to: SocketAddr = ["10.2.0.2:80", "[fd00:2::2]:80"][family].parse().unwrap();
        self.far.tcp_within(to, limit).is_ok()
    }
}

/// Links two namespaces: `.1` of both networks on the first, `.2` on the second.
fn link(near: &Pod, far: &Pod, (near_link, far_link): (&str, &str), (v4, v6): (&str, &str)) {
    near.ip(&format!("link add {near_link} type veth peer name tmp0"));
    near.ip(&format!("link set tmp0 netns {}", far.path().display()));
    far.ip(&format!("link set tmp0 name {far_link} up"));
    near.ip(&format!("link set {near_link} up"));
    for (ns, device, host) in [(near, near_link, 1), (far, far_link, 2)] {
        ns.ip(&format!("addr add {v4}.{host}/24 dev {device}"));
        ns.ip(&format!("addr add {v6}::{host}/64 dev {device} nodad"));
    }
}

#[test]
fn answers_leave_by_the_interface_that_was_asked() {
    let stage = Stage::new("sbr-answers");
    let _server = stage.pod.tcp_echo(80);
    // The far host, as many routers do, drops what comes from where it does not belong.
    for device in ["all", "up1", "up2"] {
        stage.far.set_sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "1");
    }
    assert!(!stage.is_reached(0, SOON), "the answer takes the wrong way");
    let result = stage.run("ADD", &stage.conf(&json!({}))).ok();
    let golden: Value = serde_json::from_str(include_str!("golden/result.json")).expect("JSON");
    assert_eq!(for_golden(&result, &stage.pod), golden);
    assert!(stage.is_reached(0, lab::PATIENCE), "IPv4");
    assert!(stage.is_reached(1, lab::PATIENCE), "IPv6");
    let capture = stage.far.capture();
    assert!(stage.is_reached(1, lab::PATIENCE));
    let by_second = |frame: &lab::Frame| {
        !frame.outgoing && frame.ip().is_some_and(|(from, ..)| from.to_string() == "fd00:2::2")
    };
    let answer = capture.find(lab::PATIENCE, by_second).expect("an answer");
    let index = stage.far.ip_json("link show up2")[0]["ifindex"].as_u64();
    assert_eq!(Some(answer.link as u64), index, "the answer comes by the second router");
    // What the pod begins itself takes its first interface.
    let way = stage.pod.ip("route get 198.51.100.1");
    assert!(way.contains("dev eth0"), "{way}");
    let way = stage.pod.ip("route get 203.0.113.9 from 10.2.0.2");
    assert!(way.contains("via 10.2.0.1 dev net1"), "{way}");
    stage.run("CHECK", &stage.conf(&json!({}))).ok();
    stage.run("DEL", &stage.conf(&json!({}))).ok();
    assert_eq!(stage.with("table 10"), Vec::<String>::new());
    assert_eq!(stage.with("lookup 10"), Vec::<String>::new());
    stage.run("DEL", &stage.conf(&json!({}))).ok();
}

#[test]
fn add_moves_the_routes_and_a_second_changes_nothing() {
    let stage = Stage::new("sbr-add");
    let defaults = || {
        let main = stage.pod.ip("-4 route show") + &stage.pod.ip("-6 route show");
        main.lines().filter(|l| l.contains("default")).count()
    };
    assert_eq!(defaults(), 2);
    let conf = stage.conf(&json!({}));
    stage.run("ADD", &conf).ok();
    let moved = stage.routing();
    for line in [
        "from 10.2.0.2 lookup 100",
        "from fd00:2::2 lookup 101",
        "default via 10.2.0.1 dev net1 table 100",
        "203.0.113.0/24 via 10.2.0.1 dev net1 table 100",
        "10.2.0.0/24 dev net1 table 100",
        "default via fd00:2::1 dev net1 table 101",
        "fd00:2::/64 dev net1 table 101",
    ] {
        assert!(moved.contains(line), "{line}: {moved}");
    }
    let main = stage.pod.ip("route show") + &stage.pod.ip("-6 route show");
    assert!(!main.contains("10.2.0.") && !main.contains("fd00:2::"), "{main}");
    assert!(main.contains("fe80::/64 dev net1"), "neighbours are still found: {main}");
    stage.run("ADD", &conf).ok();
    assert_eq!(stage.routing(), moved);
    stage.run("DEL", &conf).ok();
    // The interface works on, by the main table.
    let after = stage.pod.ip("route show") + &stage.pod.ip("-6 route show");
    for line in ["10.2.0.0/24 dev net1", "203.0.113.0/24 via 10.2.0.1", "fd00:2::/64 dev net1"] {
        assert!(after.contains(line), "{line}: {after}");
    }
    assert_eq!(defaults(), 2, "the pod's way out is its own");
    stage.run("ADD", &conf).ok();
    stage.run("CHECK", &conf).ok();
}

#[test]
fn keys_do_what_they_say() {
    let stage = Stage::new("sbr-keys");
    // A table that somebody else fills.
    let given = stage.conf(&json!({"table": 7000}));
    let main = stage.pod.ip("route show");
    stage.run("ADD", &given).ok();
    assert_eq!(stage.with("lookup 7000").len(), 2);
    assert_eq!(stage.pod.ip("route show"), main);
    stage.run("ADD", &given).ok();
    assert_eq!(stage.with("lookup 7000").len(), 2);
    stage.run("CHECK", &given).ok();
    let error = stage.run("CHECK", &stage.conf(&json!({"table": 7001}))).error();
    assert_eq!(error["code"], 103, "{error}");
    stage.run("DEL", &given).ok();
    assert_eq!(stage.with("lookup 7000"), Vec::<String>::new());
    // Other gateways, and subnets that stay in the main table.
    let keys = json!({"gateways": ["10.2.0.254", "fd00:2::fe"], "addSourceHints": true});
    let hinted = stage.conf(&keys);
    stage.run("ADD", &hinted).ok();
    assert_eq!(stage.with("default via 10.2.0.254 dev net1 table 100").len(), 1);
    assert_eq!(stage.with("default via fd00:2::fe dev net1").len(), 1);
    let main = stage.pod.ip("route show") + &stage.pod.ip("-6 route show");
    for line in ["10.2.0.0/24 dev net1", "src 10.2.0.2", "fd00:2::/64 dev net1", "src fd00:2::2"] {
        assert!(main.contains(line), "{line}: {main}");
    }
    assert!(!main.contains("203.0.113"), "{main}");
    stage.run("CHECK", &hinted).ok();
    stage.run("DEL", &hinted).ok();
    // A gateway that nobody knows the way to: nothing is left changed.
    let before = stage.routing();
    let lost = stage.conf(&json!({"gateways": ["192.0.2.1"]}));
    let error = stage.run("ADD", &lost).error();
    assert_eq!(error["code"], 100, "{error}");
    assert!(error["details"].as_str().unwrap_or_default().contains("192.0.2.1"), "{error}");
    assert_eq!(stage.routing(), before);
}

#[test]
fn tables_of_others_are_left_alone() {
    let stage = Stage::new("sbr-others");
    stage.pod.ip("rule add from 10.1.0.2 lookup 100");
    stage.pod.ip("route add 192.0.2.0/24 via 10.1.0.1 table 101");
    stage.pod.ip("rule add from 10.2.0.2 fwmark 5 lookup 55");
    let conf = stage.conf(&json!({}));
    stage.run("ADD", &conf).ok();
    assert_eq!(stage.with("from 10.2.0.2 lookup 102").len(), 1);
    stage.run("CHECK", &conf).ok();
    stage.run("DEL", &conf).ok();
    let left = ["lookup 100", "table 101", "lookup 55"].map(|text| stage.with(text).len());
    assert_eq!(left, [1, 1, 1], "{}", stage.routing());
    assert_eq!(stage.with("lookup 102"), Vec::<String>::new());
}

#[test]
fn every_drift_is_named() {
    let stage = Stage::new("sbr-drift");
    let conf = stage.conf(&json!({}));
    for (line, about) in [
        ("rule del from 10.2.0.2 lookup 100", "10.2.0.2"),
        ("-6 rule del from fd00:2::2 lookup 101", "fd00:2::2"),
        ("route del default table 100", "0.0.0.0/0 via 10.2.0.1 in table 100"),
        ("-6 route del default table 101", "::/0 via fd00:2::1 in table 101"),
        ("route del 203.0.113.0/24 table 100", "203.0.113.0/24"),
    ] {
        stage.run("ADD", &conf).ok();
        stage.run("CHECK", &conf).ok();
        stage.pod.ip(line);
        let drifted = stage.routing();
        let error = stage.run("CHECK", &conf).error();
        assert_eq!(error["code"], 103, "{line}: {error}");
        assert!(error["msg"].as_str().unwrap().contains(about), "{line}: {error}");
        assert_eq!(stage.routing(), drifted, "CHECK changes nothing");
        stage.run("DEL", &conf).ok();
        // What DEL could not know of any more.
        stage.pod.exec("ip", &["route", "flush", "table", "100"]);
        stage.pod.exec("ip", &["-6", "route", "flush", "table", "101"]);
        stage.pod.exec("ip", &["route", "add", "10.2.0.0/24", "dev", "net1"]);
        stage.pod.exec("ip", &["-6", "route", "add", "fd00:2::/64", "dev", "net1"]);
        stage.pod.exec("ip", &["route", "add", "203.0.113.0/24", "via", "10.2.0.1"]);
    }
    stage.run("ADD", &conf).ok();
    stage.pod.ip("link del net1");
    let error = stage.run("CHECK", &conf).error();
    assert!(error["msg"].as_str().unwrap().contains("net1"), "{error}");
}

#[test]
fn del_succeeds_with_anything_gone() {
    // With the interface gone, by the result or without it.
    for told in [true, false] {
        let stage = Stage::new("sbr-gone");
        let conf = stage.conf(&json!({}));
        stage.run("ADD", &conf).ok();
        stage.pod.ip("link del net1");
        assert_eq!(stage.with("from 10.2.0.2").len(), 1);
        stage.pod.ip("rule add from 10.1.0.2 lookup 300");
        let mut leaving = conf.clone();
        if !told {
            leaving.as_object_mut().unwrap().remove("prevResult");
        }
        stage.run("DEL", &leaving).ok();
        assert_eq!(stage.with("from 10.2.0.2"), Vec::<String>::new());
        assert_eq!(stage.with("from fd00:2::2"), Vec::<String>::new());
        assert_eq!(stage.with("lookup 300").len(), 1, "a rule for another link's address");
    }
    let stage = Stage::new("sbr-nowhere");
    let conf = stage.conf(&json!({}));
    stage.run("ADD", &conf).ok();
    let plugin = stage.lab.plugin("sbr");
    plugin.del_without_netns(&stage.pod, "net1", &conf).ok();
    let path = stage.pod.path().to_owned();
    stage.pod.delete();
    for _ in 0..2 {
        stage.run("DEL", &conf).ok();
        assert!(!path.exists(), "nothing is made at the path of the namespace");
    }
}

#[test]
fn a_killed_add_leaves_a_way_out_and_is_completed() {
    let stage = Stage::new("sbr-kill");
    let conf = stage.conf(&json!({}));
    stage.run("ADD", &conf).ok();
    let whole = stage.routing();
    stage.run("DEL", &conf).ok();
    let mut call = 20;
    loop {
        let plugin = stage.lab.plugin("sbr").kill(Kill::AtSyscall(call));
        let done = plugin.attachment("ADD", &stage.pod, "net1", &conf).success();
        let way = stage.pod.ip("route get 198.51.100.1 from 10.2.0.2");
        assert!(way.contains("dev "), "at system call {call}: {way}");
        stage.run("ADD", &conf).ok();
        stage.run("CHECK", &conf).ok();
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::trim_end).map(str::to_owned).collect();
            // Who made the subnet's route does not matter; nor does the time of its answers.
            lines.iter_mut().for_each(|l| *l = l.replace(" proto kernel", ""));
            lines.sort();
            lines
        };
        assert_eq!(sorted(&stage.routing()), sorted(&whole), "at system call {call}");
        let mut leaving = stage.lab.plugin("sbr");
        if call % 2 == 0 {
            leaving = leaving.kill(Kill::AtSyscall(call));
        }
        leaving.attachment("DEL", &stage.pod, "net1", &conf);
        stage.run("DEL", &conf).ok();
        assert_eq!(stage.with("from 10.2.0.2"), Vec::<String>::new());
        if done {
            break;
        }
        call += 3;
    }
}

/// Whether the reference knows the key `table`: Debian 12's does not.
fn knows_tables(reference: &Bins) -> bool {
    let stage = Stage::new("sbr-tables");
    let mut conf = stage.conf(&json!({"table": 7000}));
    conf["cniVersion"] = json!("1.0.0");
    conf["prevResult"]["cniVersion"] = json!("1.0.0");
    stage.lab.plugin_of(reference, "sbr").attachment("ADD", &stage.pod, "net1", &conf).ok();
    let knows = !stage.with("lookup 7000").is_empty();
    if !knows {
        lab::skip("these reference plugins do not know the table of sbr");
    }
    knows
}

/// The reference beside ours on one pod: each checks and removes what the other made.
#[test]
fn either_removes_what_the_other_made() {
    let Some(reference) = lab::reference() else { return };
    if !reference.program("sbr").is_file() {
        return lab::skip("the reference plugins have no sbr here");
    }
    let ours = Bins::ours();
    for (first, second) in [(&reference, &ours), (&ours, &reference)] {
        for keys in [json!({}), json!({"table": 7000})] {
            if keys["table"] == 7000 && !knows_tables(&reference) {
                continue;
            }
            let stage = Stage::new("sbr-cohabit");
            let mut conf = stage.conf(&keys);
            conf["cniVersion"] = json!("1.0.0");
            conf["prevResult"]["cniVersion"] = json!("1.0.0");
            let run = |bins: &Bins, verb: &str| {
                stage.lab.plugin_of(bins, "sbr").attachment(verb, &stage.pod, "net1", &conf)
            };
            run(first, "ADD").ok();
            assert_eq!(stage.with("from 10.2.0.2").len(), 1);
            for bins in [first, second] {
                let outcome = run(bins, "CHECK");
                assert!(outcome.success(), "{} of {}'s: {outcome}", bins.name(), first.name());
            }
            run(second, "DEL").ok();
            for text in ["from 10.2.0.2", "from fd00:2::2"] {
                assert_eq!(stage.with(text), Vec::<String>::new(), "{}", second.name());
            }
            run(first, "DEL").ok();
        }
    }
}
