//! Who reaches whom, by policy, and that the rules go with their last user. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helper fails the test"
)]

mod stage;

use serde_json::{Value, json};
use stage::{Attached, SOON, Stage, WAYS};

/// Port 80 of `to` answers `from`, by both families.
#[track_caller]
fn assert_reached(from: &Attached, to: &Attached) {
    for family in [0, 1] {
        let reply = from.pod.tcp(to.address(family, 80));
        assert_eq!(reply.expect("an answer").server, to.pod.name());
    }
}

/// It does not, by neither.
#[track_caller]
fn assert_cut_off(from: &Attached, to: &Attached) {
    for family in [0, 1] {
        let reply = from.pod.tcp_within(to.address(family, 80), SOON);
        assert!(reply.is_err(), "{} reaches {}", from.pod.name(), to.pod.name());
    }
}

struct Town {
    stage: Stage,
    a: Attached,
    b: Attached,
    c: Attached,
    _servers: Vec<lab::Echo>,
}

impl Town {
    /// Two pods on one bridge, one on another; `frames` tells whether iptables sees what bridges
    /// pass on.
    fn new(name: &str, way: &'static str, frames: bool) -> Town {
        let stage = Stage::new(name, way);
        for family in ["iptables", "ip6tables"] {
            let value = if frames { "1" } else { "0" };
            stage.lab.node().set_sysctl(&format!("net/bridge/bridge-nf-call-{family}"), value);
        }
        // New connections come in here, so that policies alone decide.
        for program in stage.programs().into_iter().flatten() {
            stage.lab.node().sh(&program, &["-P", "FORWARD", "ACCEPT"]);
        }
        let (a, b) = (stage.pod("a", 9, 2), stage.pod("b", 9, 3));
        let c = stage.pod("c", 8, 2);
        let servers = [&a, &b, &c].map(|pod| pod.pod.tcp_echo(80)).into();
        Town { stage, a, b, c, _servers: servers }
    }

    fn each(&self, verb: &str, policy: &str) {
        for pod in [&self.a, &self.b, &self.c] {
            self.stage.run(verb, pod, &self.conf(pod, policy)).ok();
        }
    }

    fn conf(&self, pod: &Attached, policy: &str) -> Value {
        let name = if pod.bridge == "br9" { "nine" } else { "eight" };
        self.stage.conf(pod, &json!({"name": name, "ingressPolicy": policy}))
    }

    /// Pods reach what is outside and the node, and are reached.
    fn assert_connected(&self) {
        let _server = (self.stage.outside.tcp_echo(80), self.stage.lab.node().tcp_echo(80));
        for family in [0, 1] {
            let gateway = ["10.9.0.1:80", "[fd00:9::1]:80"][family].parse().unwrap();
            self.a.pod.tcp(gateway).expect("the node");
            self.a.pod.tcp(self.stage.outside_address(family, 80)).expect("outside");
            self.stage.outside.tcp(self.a.address(family, 80)).expect("from outside");
        }
    }
}

#[test]
fn open_bridges_reach_each_other() {
    for way in WAYS {
        let town = Town::new("open", way, true);
        town.each("ADD", "open");
        assert_reached(&town.a, &town.b);
        assert_reached(&town.a, &town.c);
        town.assert_connected();
        town.each("DEL", "open");
        town.stage.assert_bare();
    }
}

#[test]
fn same_bridge_keeps_bridges_apart() {
    for way in WAYS {
        for frames in [true, false] {
            let town = Town::new("same", way, frames);
            town.each("ADD", "same-bridge");
            assert_reached(&town.a, &town.b);
            assert_cut_off(&town.a, &town.c);
            assert_cut_off(&town.c, &town.a);
            town.assert_connected();
            town.each("CHECK", "same-bridge");
            town.each("DEL", "same-bridge");
            town.stage.assert_bare();
        }
    }
}

#[test]
fn isolated_pods_do_not_reach_each_other() {
    for way in WAYS {
        for frames in [true, false] {
            let town = Town::new("isolated", way, frames);
            assert_reached(&town.a, &town.b);
            assert_reached(&town.b, &town.a);
            town.each("ADD", "isolated");
            assert_cut_off(&town.a, &town.b);
            assert_cut_off(&town.b, &town.a);
            assert_cut_off(&town.a, &town.c);
            town.assert_connected();
            town.each("CHECK", "isolated");
            town.each("DEL", "isolated");
            assert_reached(&town.a, &town.b);
            town.stage.assert_bare();
        }
    }
}

#[test]
fn a_pod_without_the_policy_does_not_reach_an_isolated_one() {
    for way in WAYS {
        let town = Town::new("mixed", way, false);
        town.stage.run("ADD", &town.a, &town.conf(&town.a, "isolated")).ok();
        assert_cut_off(&town.b, &town.a);
        assert_cut_off(&town.a, &town.b);
        town.stage.run("DEL", &town.a, &town.conf(&town.a, "isolated")).ok();
        assert_reached(&town.b, &town.a);
    }
}

#[test]
fn the_rules_go_with_the_last_user() {
    for way in WAYS {
        let town = Town::new("last", way, true);
        town.each("ADD", "isolated");
        town.stage.run("DEL", &town.a, &town.conf(&town.a, "isolated")).ok();
        town.stage.run("DEL", &town.a, &town.conf(&town.a, "isolated")).ok();
        assert!(!town.stage.rules_with("br9").is_empty(), "{way}: b is there");
        town.stage.run("CHECK", &town.b, &town.conf(&town.b, "isolated")).ok();
        town.stage.run("DEL", &town.b, &town.conf(&town.b, "isolated")).ok();
        assert_eq!(town.stage.rules_with("br9"), Vec::<String>::new(), "{way}");
        town.stage.run("CHECK", &town.c, &town.conf(&town.c, "isolated")).ok();
        // The last one is taken by GC, with its namespace gone.
        let conf = town.conf(&town.c, "isolated");
        town.c.pod.delete();
        town.stage.plugin().gc(&conf, &[]).ok();
        town.stage.assert_bare();
    }
}

#[test]
fn two_policies_on_one_bridge_are_kept_apart() {
    for way in WAYS {
        let town = Town::new("two", way, true);
        let (wide, narrow) = (town.conf(&town.a, "same-bridge"), town.conf(&town.b, "isolated"));
        town.stage.run("ADD", &town.a, &wide).ok();
        town.stage.run("ADD", &town.b, &narrow).ok();
        assert_cut_off(&town.a, &town.b);
        town.stage.run("DEL", &town.b, &narrow).ok();
        assert_reached(&town.a, &town.b);
        town.stage.run("CHECK", &town.a, &wide).ok();
        // A changed policy replaces the one before.
        let changed = town.conf(&town.a, "isolated");
        town.stage.run("ADD", &town.a, &changed).ok();
        assert_cut_off(&town.a, &town.b);
        town.stage.run("ADD", &town.a, &town.conf(&town.a, "open")).ok();
        assert_reached(&town.a, &town.b);
        town.stage.run("DEL", &town.a, &wide).ok();
        town.stage.assert_bare();
    }
}

#[test]
fn isolation_comes_before_admission_whoever_was_first() {
    for way in ["iptables", "legacy"] {
        let town = Town::new("order", way, true);
        let [program, _] = town.stage.programs().unwrap();
        let node = town.stage.lab.node();
        let position = |text: &str| {
            let rules = node.sh(&program, &["-S", "FORWARD"]);
            rules.lines().position(|l| l.contains(text))
        };
        let in_order = || position("CNI-ISOLATION-STAGE-1") < position("CNI-FORWARD");
        town.stage.run("ADD", &town.a, &town.conf(&town.a, "open")).ok();
        town.stage.run("ADD", &town.b, &town.conf(&town.b, "isolated")).ok();
        assert!(in_order(), "{way}");
        // Somebody puts the other first: CHECK tells, and the next ADD puts it right.
        let jump = ["-D", "FORWARD", "2"];
        node.sh(&program, &jump);
        let comment = ["-m", "comment", "--comment", "CNI firewall plugin rules"];
        let words = [&["-I", "FORWARD", "1"][..], &comment, &["-j", "CNI-FORWARD"]].concat();
        node.sh(&program, &words);
        assert!(!in_order());
        let outcome = town.stage.run("CHECK", &town.b, &town.conf(&town.b, "isolated"));
        assert_eq!(outcome.code(), 103, "{way}: {outcome}");
        town.stage.run("ADD", &town.b, &town.conf(&town.b, "isolated")).ok();
        assert!(in_order(), "{way}");
        // With the way to admission lost, it comes back behind isolation.
        node.sh(&program, &["-D", "FORWARD", "2"]);
        town.stage.run("ADD", &town.a, &town.conf(&town.a, "open")).ok();
        assert!(in_order() && position("CNI-FORWARD").is_some(), "{way}");
        town.stage.run("CHECK", &town.a, &town.conf(&town.a, "open")).ok();
    }
}

#[test]
fn rules_for_bridges_that_are_gone_are_collected() {
    for way in WAYS {
        let town = Town::new("gone", way, true);
        let conf = town.conf(&town.a, "isolated");
        town.stage.run("ADD", &town.a, &conf).ok();
        // All that was known is lost, and the bridge goes.
        std::fs::remove_dir_all(town.stage.lab.run_dir().join("firewall")).unwrap();
        town.stage.plugin().gc(&conf, &[]).ok();
        assert!(!town.stage.rules_with("br9").is_empty(), "{way}: the bridge is there");
        town.stage.lab.node().ip("link del br9");
        town.stage.plugin().gc(&conf, &[]).ok();
        assert_eq!(town.stage.rules_with("br9"), Vec::<String>::new(), "{way}");
        town.stage.run("DEL", &town.a, &conf).ok();
        // Rules without a record were suspects until DEL was told whose they are.
        town.stage.plugin().gc(&conf, &[]).ok();
        town.stage.assert_bare();
    }
}
