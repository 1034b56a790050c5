//! Connections that outlive a change of rules: UDP and SCTP begin anew, others stay. Needs root.

mod stage;

use serde_json::json;
use stage::{BACKENDS, Stage, map};
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn a_client_that_keeps_sending_follows_the_port() {
    for backend in BACKENDS {
        let stage = Stage::new("udp");
        let (a, b) = (stage.pod("a", 2), stage.pod("b", 3));
        let _servers = (a.pod.udp_echo(53), b.pod.udp_echo(53));
        let ports = json!([map(5353, 53, "udp")]);
        let (conf_a, conf_b) =
            (a.conf(backend, ports.clone(), &json!({})), b.conf(backend, ports, &json!({})));
        let ask = |family: usize| {
            let to = stage.node_address(family, 5353);
            stage.outside.udp_from(7000, to, lab::PATIENCE).map(|r| r.server)
        };
        // Sent before there is a rule: the entry that it makes leads to the node itself.
        let unheard = Duration::from_millis(50);
        for family in [0, 1] {
            let to = stage.node_address(family, 5353);
            let _silent = stage.lab.node().udp_echo(5353);
            assert_eq!(stage.outside.udp_from(7000, to, lab::PATIENCE).unwrap().server, "node");
        }
        stage.run("ADD", &a, &conf_a).ok();
        assert_eq!((ask(0).expect("v4"), ask(1).expect("v6")), ("a".into(), "a".into()));
        stage.run("DEL", &a, &conf_a).ok();
        for family in [0, 1] {
            let to = stage.node_address(family, 5353);
            stage.outside.udp_from(7000, to, unheard).expect_err("the pod is not reached any more");
        }
        stage.run("ADD", &b, &conf_b).ok();
        assert_eq!((ask(0).expect("v4"), ask(1).expect("v6")), ("b".into(), "b".into()));
        stage.run("DEL", &b, &conf_b).ok();
    }
}

#[test]
fn connections_of_others_are_not_touched() {
    for backend in BACKENDS {
        let stage = Stage::new("others");
        let (a, b) = (stage.pod("a", 2), stage.pod("b", 3));
        let _servers = (a.pod.udp_echo(53), a.pod.tcp_echo(80), stage.outside.udp_echo(5353));
        let other = json!([map(5454, 53, "udp"), map(8080, 80, "tcp")]);
        let standing = a.conf(backend, other, &json!({"name": "standing"}));
        stage.run("ADD", &a, &standing).ok();
        // Through the node to the same port of a host outside, and to other ports of the node.
        for family in [0, 1] {
            let far = SocketAddr::new(stage.outside.address(family), 5353);
            assert_eq!(b.pod.udp_from(7001, far, lab::PATIENCE).unwrap().server, "outside");
            let to = stage.node_address(family, 5454);
            assert_eq!(stage.outside.udp_from(7002, to, lab::PATIENCE).unwrap().server, "a");
            stage.outside.tcp(stage.node_address(family, 8080)).expect("tcp");
        }
        let flows = || {
            let mut flows = stage.lab.conntrack();
            flows.retain(|f| f.contains("7001") || f.contains("7002") || f.contains("tcp"));
            flows.sort();
            flows
        };
        let before = flows();
        assert_eq!(before.iter().filter(|f| f.contains("sport=7001")).count(), 2, "{before:#?}");
        let conf = b.conf(backend, json!([map(5353, 53, "udp"), map(9, 9, "sctp")]), &json!({}));
        stage.run("ADD", &b, &conf).ok();
        stage.run("DEL", &b, &conf).ok();
        assert_eq!(flows().len(), before.len(), "{:#?}", flows());
        stage.run("DEL", &a, &standing).ok();
        let left = stage.lab.conntrack();
        assert!(left.iter().all(|f| !f.contains("5454")), "{left:#?}");
        assert!(left.iter().any(|f| f.contains("8080")), "TCP ends by itself: {left:#?}");
    }
}
