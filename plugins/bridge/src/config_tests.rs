use super::*;
use serde_json::{Value, json};

fn read_with(more: Value, args: &str) -> Result<Config> {
    let mut document = json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge"});
    let (Some(map), Value::Object(more)) = (document.as_object_mut(), more) else {
        return Err(invalid("test: not an object"));
    };
    map.extend(more);
    Config::read(&NetConf::from_value(document)?, &Args::parse(args)?)
}

fn read(more: Value) -> Result<Config> {
    read_with(more, "")
}

#[test]
fn defaults_are_those_of_the_reference() {
    let config = read(json!({})).expect("empty");
    assert_eq!(
        config,
        Config {
            bridge: "cni0".into(),
            gateway: Gateway::None,
            force_address: false,
            masquerade: None,
            mtu: None,
            port: PortFlags::default(),
            promiscuous: false,
            vlans: None,
            mac_check: false,
            probe: false,
            pod_up: true,
            mac: None,
            dns: Dns::default(),
            layer3: false,
        }
    );
    // An empty name, a zero and a null are as good as absent; unknown keys are ignored.
    let same = read(json!({"bridge": "", "mtu": 0, "vlan": 0, "ipMasqBackend": null, "new": {}}));
    assert_eq!(same.expect("same"), config);
}

#[test]
fn every_key_is_read() {
    let config = read(json!({
        "bridge": "br0", "isDefaultGateway": true, "forceAddress": true, "ipMasq": true,
        "ipMasqBackend": "nftables", "mtu": 1400, "hairpinMode": true, "portIsolation": true,
        "macspoofchk": true, "enabledad": true, "dns": {"nameservers": ["10.0.0.1"]},
        "ipam": {"type": "host-local"}
    }))
    .expect("config");
    assert_eq!(config.bridge, "br0");
    assert_eq!(config.gateway, Gateway::DefaultRoute);
    assert!(config.force_address && config.mac_check && config.probe && config.layer3);
    assert_eq!(config.masquerade, Some(Some(Backend::Nftables)));
    assert_eq!(config.mtu, Some(1400));
    assert_eq!(config.port, PortFlags { hairpin: true, isolated: true });
    assert_eq!(config.dns.nameservers, ["10.0.0.1"]);
    let config = read(json!({"isGateway": true, "ipMasq": true, "promiscMode": true,
        "disableContainerInterface": true}))
    .expect("config");
    assert_eq!(config.gateway, Gateway::Address);
    assert_eq!(config.masquerade, Some(None));
    assert!(config.promiscuous && !config.pod_up);
}

#[test]
fn what_cannot_work_is_refused_with_the_key() {
    let cases = [
        (json!({"hairpinMode": true, "promiscMode": true}), "hairpinMode"),
        (
            json!({"disableContainerInterface": true, "ipam": {"type": "x"}}),
            "disableContainerInterface",
        ),
        (json!({"mtu": 67}), "mtu 67"),
        (json!({"mtu": 65536}), "mtu 65536"),
        (json!({"vlan": 4095}), "vlan 4095"),
        (json!({"bridge": "a/b"}), "bridge"),
        (json!({"bridge": "a b"}), "bridge"),
        (json!({"bridge": "0123456789abcdef"}), "bridge"),
        (
            json!({"bridge": "0123456789abc", "vlan": 10, "isGateway": true, "ipam": {"type": "x"}}),
            "bridge",
        ),
        (json!({"ipMasq": true, "ipMasqBackend": "ebtables"}), "ipMasqBackend"),
        (json!({"runtimeConfig": {"mac": "nonsense"}}), "runtimeConfig.mac"),
        (json!({"args": {"cni": {"mac": "01:00:00:00:00:01"}}}), "args.cni.mac"),
        (json!({"vlanTrunk": [{"id": 0}]}), "vlanTrunk[0]"),
        (json!({"vlanTrunk": [{"id": 7}, {"id": 4095}]}), "vlanTrunk[1]"),
        (json!({"vlanTrunk": [{"minID": 5}]}), "vlanTrunk[0]"),
        (json!({"vlanTrunk": [{"maxID": 5}]}), "vlanTrunk[0]"),
        (json!({"vlanTrunk": [{"minID": 6, "maxID": 5}]}), "vlanTrunk[0]"),
    ];
    for (more, key) in cases {
        let error = read(more.clone()).expect_err(key);
        assert_eq!(error.code, Code::InvalidConfig, "{more}");
        assert!(error.msg.starts_with(key), "{more}: {error}");
    }
    let error = read_with(json!({}), "MAC=nonsense").expect_err("CNI_ARGS");
    assert_eq!(error.code, Code::InvalidEnvironment);
}

#[test]
fn a_wrong_type_is_named_by_its_path() {
    for (more, path) in [
        (json!({"mtu": "1500"}), "mtu"),
        (json!({"mtu": -1}), "mtu"),
        (json!({"vlanTrunk": [{"minID": "a"}]}), "vlanTrunk[0].minID"),
        (json!({"isGateway": 1}), "isGateway"),
        (json!({"args": {"cni": {"mac": 5}}}), "args.cni.mac"),
    ] {
        let error = read(more).expect_err(path);
        assert_eq!(error.code, Code::Decode);
        assert!(error.msg.starts_with(&format!("{path}: ")), "{error}");
    }
}

#[test]
fn the_runtime_has_the_last_word_on_the_hardware_address() {
    let mac = |more: Value, args: &str| {
        read_with(more, args).expect("config").mac.map(|mac| mac.to_string())
    };
    let runtime = json!({"mac": "02:00:00:00:00:03"});
    let args = json!({"cni": {"mac": "02:00:00:00:00:02"}});
    let env = "IgnoreUnknown=1;MAC=02:00:00:00:00:01;K8S_POD_NAME=x";
    let all = json!({"runtimeConfig": runtime, "args": args});
    assert_eq!(mac(all, env).as_deref(), Some("02:00:00:00:00:03"));
    assert_eq!(mac(json!({"args": args}), env).as_deref(), Some("02:00:00:00:00:02"));
    assert_eq!(mac(json!({}), env).as_deref(), Some("02:00:00:00:00:01"));
    assert_eq!(mac(json!({}), "UNKNOWN=1"), None);
}

#[test]
fn vlans_are_sorted_joined_and_disjoint() {
    let vlans = |more: Value| read(more).expect("config").vlans;
    let access = vlans(json!({"vlan": 100, "preserveDefaultVlan": true})).expect("vlans");
    assert_eq!(access.members, [VlanRange::access(100)]);
    assert!(access.keep_default && access.id == Some(100));
    let trunk = vlans(json!({"vlanTrunk": [
        {"id": 30}, {"minID": 10, "maxID": 12}, {"minID": 12, "maxID": 14, "id": 15}]}))
    .expect("vlans");
    assert_eq!(trunk.id, None);
    assert_eq!(
        trunk.members,
        [VlanRange::access(1), VlanRange::tagged(10, 15), VlanRange::tagged(30, 30)]
    );
    let both =
        vlans(json!({"vlan": 11, "vlanTrunk": [{"minID": 10, "maxID": 12}]})).expect("vlans");
    assert_eq!(
        both.members,
        [VlanRange::access(11), VlanRange::tagged(10, 10), VlanRange::tagged(12, 12)]
    );
    // An empty trunk asks for filtering only.
    assert_eq!(vlans(json!({"vlanTrunk": []})).expect("vlans").members, []);
}

#[test]
fn hints_do_not_judge() {
    let hints = |document: Value| Hints::read(&NetConf::from_value(document).expect("conf"));
    let bad =
        hints(json!({"name": "n", "type": "bridge", "mtu": "x", "ipMasq": true, "vlan": 9999}));
    assert_eq!(bad, Hints { bridge: "cni0".into(), masquerade: true });
    let named = hints(json!({"name": "n", "type": "bridge", "bridge": "br0", "ipMasq": "yes"}));
    assert_eq!(named, Hints { bridge: "br0".into(), masquerade: false });
}

#[test]
fn the_examples_of_the_readme_are_valid() {
    let readme = include_str!("../README.md");
    let blocks = readme.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
    let mut seen = 0;
    for block in blocks {
        let list: Value = serde_json::from_str(block).expect("JSON");
        for plugin in list["plugins"].as_array().expect("plugins") {
            read(plugin.clone()).expect("valid");
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}

#[test]
fn the_readme_has_every_key() {
    let readme = include_str!("../README.md");
    for key in [
        "bridge",
        "isGateway",
        "isDefaultGateway",
        "forceAddress",
        "ipMasq",
        "ipMasqBackend",
        "mtu",
        "hairpinMode",
        "promiscMode",
        "vlan",
        "vlanTrunk",
        "preserveDefaultVlan",
        "portIsolation",
        "macspoofchk",
        "enabledad",
        "disableContainerInterface",
        "dns",
        "ipam",
    ] {
        assert!(readme.contains(&format!("| `{key}` |")), "{key}");
    }
}
