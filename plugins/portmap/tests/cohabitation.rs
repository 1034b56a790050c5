//! The reference plugin and ours on one node, each cleaning up after the other. Needs root and
//! the reference plugins; its nftables backend came with release 1.6.

mod stage;

use lab::Bins;
use serde_json::{Value, json};
use stage::{Attached, BACKENDS, Stage, map, map_at};

/// The reference with this backend, or a skip.
fn reference(backend: &str) -> Option<Bins> {
    let bins = lab::reference()?;
    if backend == "nftables" {
        let stage = Stage::new("probe");
        let a = stage.pod("a", 2);
        let tried = stage.run_of(&bins, "ADD", &a, &conf(&a, backend));
        if !tried.success() || !stage.rules().contains("cni_hostport") {
            lab::skip("the reference plugins have no nftables backend: set PODLOOM_REFERENCE_DIR");
            return None;
        }
    }
    Some(bins)
}

fn conf(pod: &Attached, backend: &str) -> Value {
    let mappings = json!([
        map(8080, 80, "tcp"),
        map(5353, 53, "udp"),
        map_at(8081, 80, "tcp", "192.0.2.9"),
        map_at(8082, 80, "tcp", "2001:db8::1"),
    ]);
    pod.conf(backend, mappings, &json!({}))
}

/// Whether the reference's CHECK accepts what its own ADD made: up to 1.1.1 it looks for IPv4 rules
/// in ip6tables.
fn has_usable_check(bins: &Bins, backend: &str) -> bool {
    let stage = Stage::new("usable-check");
    let a = stage.pod("a", 2);
    stage.run_of(bins, "ADD", &a, &conf(&a, backend)).ok();
    let is_usable = stage.run_of(bins, "CHECK", &a, &conf(&a, backend)).success();
    if !is_usable {
        lab::skip("CHECK of these reference plugins refuses their own rules");
    }
    is_usable
}

/// Whether the reference makes other rules with masqAll: not every release knows the key.
fn knows_masq_all(bins: &Bins, backend: &str) -> bool {
    let rules = |all: bool| {
        let stage = Stage::new("masq-all");
        let a = stage.pod("a", 2);
        let mut conf = conf(&a, backend);
        conf["masqAll"] = json!(all);
        stage.run_of(bins, "ADD", &a, &conf).ok();
        let rules = stage.rules();
        stage.run_of(bins, "DEL", &a, &conf).ok();
        rules
    };
    let knows = rules(true) != rules(false);
    if !knows {
        lab::skip(&format!("these reference plugins do not know masqAll with {backend}"));
    }
    knows
}

#[test]
fn the_reference_checks_and_removes_what_ours_made() {
    for backend in BACKENDS {
        let Some(bins) = reference(backend) else { continue };
        let stage = Stage::new("ours-first");
        let a = stage.pod("a", 2);
        let _server = a.pod.tcp_echo(80);
        stage.run("ADD", &a, &conf(&a, backend)).ok();
        if has_usable_check(&bins, backend) {
            stage.run_of(&bins, "CHECK", &a, &conf(&a, backend)).ok();
        }
        stage.run_of(&bins, "DEL", &a, &conf(&a, backend)).ok();
        assert_eq!(stage.container_rules(), Vec::<String>::new());
        // What our registry still says is no obstacle.
        let b = stage.pod("b", 3);
        stage.run("ADD", &b, &conf(&b, backend)).ok();
        stage.run("DEL", &b, &conf(&b, backend)).ok();
        stage.run("DEL", &a, &conf(&a, backend)).ok();
        stage.assert_bare();
    }
}

#[test]
fn ours_checks_and_removes_what_the_reference_made() {
    for backend in BACKENDS {
        let Some(bins) = reference(backend) else { continue };
        for keys in [json!({}), json!({"masqAll": true}), json!({"snat": false})] {
            if keys["masqAll"] == true && !knows_masq_all(&bins, backend) {
                continue;
            }
            let stage = Stage::new("reference-first");
            let a = stage.pod("a", 2);
            let mut conf = conf(&a, backend);
            // A duplicate, of which the reference makes two rules in nftables.
            let again = conf["runtimeConfig"]["portMappings"][0].clone();
            conf["runtimeConfig"]["portMappings"].as_array_mut().unwrap().push(again);
            for (key, value) in keys.as_object().unwrap() {
                conf[key] = value.clone();
            }
            stage.run_of(&bins, "ADD", &a, &conf).ok();
            stage.run("CHECK", &a, &conf).ok();
            stage.run("DEL", &a, &conf).ok();
            stage.assert_bare();
        }
    }
}

#[test]
fn ports_of_the_reference_are_known() {
    for backend in BACKENDS {
        let Some(bins) = reference(backend) else { continue };
        let stage = Stage::new("known");
        let (a, b) = (stage.pod("a", 2), stage.pod("b", 3));
        stage.run_of(&bins, "ADD", &a, &conf(&a, backend)).ok();
        let error = stage.run("ADD", &b, &conf(&b, backend)).error();
        assert_eq!(error["code"], 102, "{error}");
        assert!(error["msg"].as_str().unwrap().contains("pod-a"), "{error}");
        stage.run_of(&bins, "DEL", &a, &conf(&a, backend)).ok();
        stage.run("ADD", &b, &conf(&b, backend)).ok();
        stage.run("DEL", &b, &conf(&b, backend)).ok();
        stage.assert_bare();
    }
}

#[test]
fn gc_removes_dead_rules_of_the_reference() {
    for backend in BACKENDS {
        let Some(bins) = reference(backend) else { continue };
        let stage = Stage::new("gc-reference");
        let (a, b) = (stage.pod("a", 2), stage.pod("b", 3));
        let conf_b = b.conf(backend, json!([map(9090, 80, "tcp")]), &json!({}));
        stage.run_of(&bins, "ADD", &a, &conf(&a, backend)).ok();
        stage.run_of(&bins, "ADD", &b, &conf_b).ok();
        stage.gc(&conf_b, &[("pod-b", "eth0")]).ok();
        let left = stage.container_rules();
        assert!(!left.is_empty() && left.iter().all(|l| !l.contains("8080")), "{left:?}");
        stage.run("CHECK", &b, &conf_b).ok();
        if backend == "nftables" {
            // Of a container that another network knows, nothing is taken.
            let known = stage.lab.cache_dir().join("results/other-pod-b-eth0");
            std::fs::write(&known, "{}").unwrap();
            stage.gc(&conf_b, &[]).ok();
            stage.run("CHECK", &b, &conf_b).ok();
            std::fs::remove_file(known).unwrap();
        }
        stage.gc(&conf_b, &[]).ok();
        stage.assert_bare();
    }
}

#[test]
fn conditions_of_the_reference_keep_their_meaning() {
    let Some(bins) = reference("nftables") else { return };
    let stage = Stage::new("conditions");
    let (a, b) = (stage.pod("a", 2), stage.pod("b", 3));
    let _servers = (a.pod.tcp_echo(80), b.pod.tcp_echo(80));
    let keys = json!({"conditionsV4": ["ip", "saddr", "10.0.0.0/8"]});
    let theirs = a.conf("nftables", json!([map(8080, 80, "tcp")]), &keys);
    let ours = b.conf("nftables", json!([map(8081, 80, "tcp")]), &json!({}));
    stage.run_of(&bins, "ADD", &a, &theirs).ok();
    stage.run("ADD", &b, &ours).ok();
    let reach = |port| stage.outside.tcp(stage.node_address(0, port)).map(|r| r.server);
    assert_eq!(reach(8081).expect("ours is open"), "b");
    let soon = std::time::Duration::from_millis(300);
    let wide = stage.outside.tcp_within(stage.node_address(0, 8080), soon);
    wide.expect_err("theirs is not opened wider");
    stage.run_of(&bins, "DEL", &a, &theirs).ok();
    stage.run("CHECK", &b, &ours).ok();
    stage.run("DEL", &b, &ours).ok();
    assert_eq!(stage.container_rules(), Vec::<String>::new());
}
