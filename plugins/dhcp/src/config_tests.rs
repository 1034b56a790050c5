//! Every key, and every refusal with the key's name.

use super::*;
use serde_json::{Value, json};

fn conf(ipam: Value) -> NetConf {
    let whole = json!({"cniVersion": "1.1.0", "name": "net", "type": "macvlan", "ipam": ipam});
    NetConf::from_value(whole).expect("configuration")
}

fn read_with(args: &str, ipam: Value) -> Result<Config> {
    Config::read(&conf(ipam), &Args::parse(args).expect("arguments"))
}

fn read(ipam: Value) -> Result<Config> {
    read_with("", ipam)
}

#[test]
fn defaults_ask_for_what_a_pod_can_use() {
    let config = read(json!({"type": "dhcp", "unknown": 1})).expect("valid");
    assert_eq!(config.socket, Path::new("/run/cni/dhcp.sock"));
    assert_eq!(config.families, [Family::Ipv4]);
    assert_eq!(config.request, [1, 121, 3, 33, 6, 15, 119, 26, 58, 59]);
    assert!(config.provide.is_empty() && config.client_id.is_none() && config.priority.is_none());
}

#[test]
fn every_key_is_read() {
    let ipam = json!({"daemonSocketPath": "/run/x.sock", "priority": 50,
        "families": ["ipv6", "ipv4", "ipv6"],
        "provide": [{"option": "host-name", "fromArg": "K8S_POD_NAME"},
            {"option": "60", "value": "podloom"}, {"option": "user-class", "fromArg": "NOT_SET"},
            {"option": "dhcp-client-identifier", "value": "me"}],
        "request": [{"option": "ntp-servers"}, {"option": "routers"}]});
    let config = read_with("K8S_POD_NAME=web", ipam).expect("valid");
    assert_eq!(config.socket, Path::new("/run/x.sock"));
    assert_eq!(config.families, [Family::Ipv6, Family::Ipv4]);
    assert_eq!(config.provide, [(12, b"web".to_vec()), (60, b"podloom".to_vec())]);
    assert_eq!(config.client_id.as_deref(), Some(&b"me"[..]));
    assert_eq!(config.request, [1, 121, 3, 33, 6, 15, 119, 26, 58, 59, 42]);
    assert_eq!(config.priority, Some(50));
}

#[test]
fn defaults_can_be_left_out_and_arguments_go_over_values() {
    let ipam = json!({"request": [{"skipDefault": true}, {"option": "121"}, {"option": "3"}],
        "provide": [{"option": "12", "value": "a", "fromArg": "NAME"}]});
    assert_eq!(read(ipam.clone()).expect("valid").request, [121, 3]);
    assert_eq!(read(ipam.clone()).expect("valid").provide, [(12, b"a".to_vec())]);
    assert_eq!(read_with("NAME=b", ipam).expect("valid").provide, [(12, b"b".to_vec())]);
    assert!(read(json!({"request": [{"skipDefault": true}]})).expect("valid").request.is_empty());
}

#[test]
fn faults_are_named_by_their_key() {
    let long = "x".repeat(256);
    for (ipam, start, code) in [
        (json!({"daemonSocketPath": "x.sock"}), "ipam.daemonSocketPath: ", Code::InvalidConfig),
        (json!({"daemonSocketPath": 5}), "ipam.daemonSocketPath: ", Code::Decode),
        (json!({"priority": -1}), "ipam.priority: ", Code::Decode),
        (json!({"families": []}), "ipam.families: ", Code::InvalidConfig),
        (json!({"families": ["ipv5"]}), "ipam.families[0]: ", Code::InvalidConfig),
        (json!({"families": "ipv4"}), "ipam.families: ", Code::Decode),
        (json!({"provide": [{"value": "x"}]}), "ipam.provide[0].option: ", Code::InvalidConfig),
        (
            json!({"provide": [{"option": "53", "value": "x"}]}),
            "ipam.provide[0].option: ",
            Code::InvalidConfig,
        ),
        (json!({"provide": [{"option": "12"}]}), "ipam.provide[0].value: ", Code::InvalidConfig),
        (
            json!({"provide": [{"option": "12", "value": long}]}),
            "ipam.provide[0].value: ",
            Code::InvalidConfig,
        ),
        (json!({"provide": [{"option": 12}]}), "ipam.provide[0].option: ", Code::Decode),
        (json!({"request": [{"option": "x"}]}), "ipam.request[0].option: ", Code::InvalidConfig),
        (json!({"request": {}}), "ipam.request: ", Code::Decode),
    ] {
        let error = read(ipam).expect_err(start);
        assert_eq!(error.code, code, "{error}");
        assert!(error.msg.starts_with(start), "{error}");
    }
    let none = NetConf::from_value(json!({"name": "n", "type": "dhcp"})).expect("configuration");
    let error = Config::read(&none, &Args::default()).expect_err("no ipam");
    assert!(error.msg.starts_with("ipam: is missing"), "{error}");
}

#[test]
fn the_socket_is_found_in_a_broken_configuration() {
    let broken = conf(json!({"daemonSocketPath": "/x.sock", "families": 7, "provide": "x"}));
    assert_eq!(socket(&broken).expect("socket"), Path::new("/x.sock"));
    let none = NetConf::from_value(json!({"name": "n", "type": "dhcp"})).expect("configuration");
    assert_eq!(socket(&none).expect("socket"), Path::new(SOCKET));
}

#[test]
fn the_examples_of_the_readme_are_valid() {
    let readme = include_str!("../README.md");
    let blocks = readme.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
    let mut seen = 0;
    for block in blocks {
        let document: Value = serde_json::from_str(block).expect("JSON");
        let conf = NetConf::from_value(document).expect("configuration");
        Config::read(&conf, &Args::default()).expect("valid");
        seen += 1;
    }
    assert!(seen >= 2);
}
