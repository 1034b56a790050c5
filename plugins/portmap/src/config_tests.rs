use super::*;
use serde_json::{Value, json};

fn parse(mut keys: Value) -> Result<Config> {
    for (key, value) in [("cniVersion", "1.1.0"), ("name", "net"), ("type", "portmap")] {
        keys[key] = json!(value);
    }
    Config::parse(&NetConf::from_value(keys)?)
}

fn mapped(entries: Value) -> Result<Vec<Mapping>> {
    parse(json!({"runtimeConfig": {"portMappings": entries}})).map(|c| c.mappings)
}

#[test]
fn defaults_are_those_of_the_reference() {
    let config = parse(json!({})).expect("config");
    assert_eq!(config.backend, Choice::Default);
    assert_eq!(config.masquerade, Masquerade::Needed);
    assert_eq!(config.mark, Mark::Bit(13));
    assert_eq!(config.mappings, vec![]);
}

#[test]
fn every_key_is_read() {
    let config = parse(json!({
        "backend": "iptables", "snat": true, "masqAll": true, "externalSetMarkChain": "KUBE-MARK-MASQ",
        "conditionsV4": ["-s", "192.0.2.0/24"], "conditionsV6": ["!", "-d", "2001:db8::/32"],
        "capabilities": {"portMappings": true},
        "runtimeConfig": {"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "TCP"},
            {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "192.0.2.1"},
            {"hostPort": 9, "containerPort": 99, "protocol": "sctp", "hostIP": "::"},
            {"hostPort": 10, "containerPort": 10},
        ]},
    }))
    .expect("config");
    assert_eq!(config.backend, Choice::Wished(Backend::Iptables));
    assert_eq!(config.masquerade, Masquerade::All);
    assert_eq!(config.mark, Mark::Chain("KUBE-MARK-MASQ".into()));
    assert_eq!(config.conditions_v4, ["-s", "192.0.2.0/24"]);
    assert_eq!(config.conditions_v6[0], "!");
    let texts: Vec<_> = config.mappings.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["8080/tcp", "192.0.2.1:53/udp", "[::]:9/sctp", "10/tcp"]);
    let off = parse(json!({"snat": false, "masqAll": true, "markMasqBit": 0})).expect("config");
    assert_eq!((off.masquerade, off.mark), (Masquerade::Off, Mark::Bit(0)));
}

#[test]
fn wrong_values_are_refused_by_name() {
    for (keys, subject) in [
        (json!({"backend": "ebtables"}), "backend"),
        (json!({"markMasqBit": 32}), "markMasqBit"),
        (json!({"markMasqBit": -1}), "markMasqBit"),
        (json!({"markMasqBit": 1, "externalSetMarkChain": "X"}), "markMasqBit"),
        (json!({"externalSetMarkChain": "X -j ACCEPT"}), "externalSetMarkChain"),
        (json!({"externalSetMarkChain": "X\n-F"}), "externalSetMarkChain"),
        (json!({"backend": "nftables", "externalSetMarkChain": "X"}), "externalSetMarkChain"),
        (json!({"backend": "nftables", "conditionsV4": ["-d", "a"]}), "conditionsV4"),
        (json!({"backend": "iptables", "conditionsV6": ["ip6", "daddr"]}), "conditionsV6"),
        (json!({"backend": "iptables", "conditionsV4": ["-j", "ACCEPT"]}), "conditionsV4"),
        (json!({"backend": "nftables", "conditionsV4": ["ct", "state", "new"]}), "conditionsV4"),
    ] {
        let error = parse(keys.clone()).expect_err("invalid");
        assert_eq!(error.code, Code::InvalidConfig, "{keys}");
        assert!(error.msg.starts_with(subject), "{keys}: {error}");
    }
    let error = parse(json!({"snat": "yes"})).expect_err("type");
    assert_eq!(error.code, Code::Decode);
    assert!(error.msg.starts_with("snat"), "{error}");
}

#[test]
fn wrong_mappings_are_refused_by_place() {
    for (entry, name) in [
        (json!({"hostPort": 0, "containerPort": 80}), "hostPort"),
        (json!({"hostPort": 65536, "containerPort": 80}), "hostPort"),
        (json!({"hostPort": 80}), "containerPort"),
        (json!({"hostPort": 80, "containerPort": -1}), "containerPort"),
        (json!({"hostPort": 80, "containerPort": 80, "protocol": "icmp"}), "protocol"),
        (json!({"hostPort": 80, "containerPort": 80, "hostIP": "node"}), "hostIP"),
    ] {
        let error = mapped(json!([{"hostPort": 1, "containerPort": 1}, entry])).expect_err("bad");
        assert_eq!(error.code, Code::InvalidConfig);
        let key = format!("runtimeConfig.portMappings[1].{name}: ");
        assert!(error.msg.starts_with(&key), "{error}");
    }
}

#[test]
fn one_host_port_leads_to_one_port_only() {
    let twice =
        json!([{"hostPort": 80, "containerPort": 80}, {"hostPort": 80, "containerPort": 80}]);
    assert_eq!(mapped(twice).expect("an exact duplicate").len(), 2);
    let other = |ip: &str| {
        mapped(json!([
            {"hostPort": 80, "containerPort": 80, "hostIP": "192.0.2.1"},
            {"hostPort": 80, "containerPort": 81, "hostIP": ip},
        ]))
    };
    other("192.0.2.2").expect("another address");
    other("::").expect("another family");
    for ip in ["192.0.2.1", "0.0.0.0", ""] {
        assert_eq!(other(ip).expect_err("taken").code, Code::InvalidConfig);
    }
    let mapped_v4 = mapped(json!([
        {"hostPort": 80, "containerPort": 80, "hostIP": "::ffff:192.0.2.1"}
    ]));
    assert_eq!(mapped_v4.expect("canonical")[0].to_string(), "192.0.2.1:80/tcp");
}

#[test]
fn del_reads_what_it_can() {
    let conf = NetConf::from_value(json!({
        "cniVersion": "1.0.0", "name": "net", "type": "portmap", "backend": 7,
        "runtimeConfig": {"portMappings": [{"hostPort": "x"}, {"hostPort": 80, "containerPort": 8}]}
    }))
    .expect("conf");
    assert_eq!(readable_mappings(&conf).len(), 1);
}

#[test]
fn the_examples_of_the_readme_are_valid() {
    let readme = include_str!("../README.md");
    let examples: Vec<&str> =
        readme.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let list: Value = serde_json::from_str(example).expect(example);
        let plugins = list["plugins"].as_array().expect("plugins");
        let own = plugins.iter().find(|p| p["type"] == "portmap").expect("portmap");
        let mut own = own.clone();
        own["runtimeConfig"] = json!({"portMappings": [{"hostPort": 80, "containerPort": 80}]});
        parse(own).expect(example);
    }
}
