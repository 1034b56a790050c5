use super::*;
use serde_json::{Value, json};

fn conf(mut keys: Value) -> NetConf {
    for (key, value) in [("name", "net"), ("type", "bandwidth"), ("cniVersion", "1.1.0")] {
        keys[key] = value.into();
    }
    NetConf::from_value(keys).expect("configuration")
}

fn read(keys: Value) -> Result<Config> {
    Config::read(&conf(keys))
}

#[test]
fn the_examples_of_the_readme_are_valid() {
    let readme = include_str!("../README.md");
    let blocks = readme.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
    let mut seen = 0;
    for block in blocks {
        let document: Value = serde_json::from_str(block).expect("JSON");
        let plugins = document["plugins"].as_array().expect("a list").clone();
        for plugin in plugins.into_iter().filter(|plugin| plugin["type"] == "bandwidth") {
            let capable = plugin["capabilities"]["bandwidth"] == true;
            assert!(read(plugin).expect("valid").has_limits() != capable);
            seen += 1;
        }
    }
    assert!(seen > 2);
}

#[test]
fn limits_are_read_in_bits() {
    let config = read(json!({"ingressRate": 15_000_000, "ingressBurst": 1_000_000,
        "egressRate": 8000, "egressBurst": 0}))
    .expect("valid");
    assert_eq!(
        config.ingress,
        Some(Limit { rate: 1_875_000, burst: Some(125_000), written: 125_000 })
    );
    assert_eq!(config.egress, Some(Limit { rate: 1000, burst: None, written: 0 }));
    assert_eq!(config.scope, Scope::All);
    for none in [json!({}), json!({"ingressRate": 0, "ingressBurst": 0, "unknown": 1})] {
        assert!(!read(none).expect("valid").has_limits());
    }
}

#[test]
fn a_burst_that_is_none_is_not_taken() {
    let burst = |rate: u64, burst: u64| {
        let config = read(json!({"egressRate": rate, "egressBurst": burst})).expect("valid");
        config.egress.expect("a limit").burst
    };
    assert_eq!(burst(8_000_000, 8_000_000), Some(1_000_000));
    assert_eq!(burst(8_000_000, 8_000_008), None);
    // What kubelet and containerd write, even where it would be less than a second.
    for any in [i32::MAX.cast_unsigned(), u32::MAX] {
        assert_eq!(burst(100_000_000_000, u64::from(any)), None);
    }
    assert_eq!(burst(8_000_000, u64::MAX), None);
    assert_eq!(burst(8_000_000, 7), None);
}

#[test]
fn the_configuration_wins_over_the_runtime() {
    let runtime = json!({"bandwidth": {"ingressRate": 8000, "unshapedSubnets": ["10.0.0.0/8"]}});
    // containerd's keys begin with capitals.
    let capital = json!({"bandwidth": {"IngressRate": 16_000, "IngressBurst": u32::MAX}});
    let given = read(json!({"runtimeConfig": capital})).expect("valid").ingress.expect("a limit");
    assert_eq!((given.rate, given.burst), (2000, None));
    let given = read(json!({"runtimeConfig": runtime})).expect("valid");
    assert_eq!(given.ingress, Some(Limit { rate: 1000, burst: None, written: 0 }));
    let both =
        read(json!({"runtimeConfig": runtime, "egressRate": 16_000, "shapedSubnets": ["::/0"]}))
            .expect("valid");
    assert_eq!((both.ingress, both.egress.map(|l| l.rate)), (None, Some(2000)));
    // Networks come from the runtime where it gives any, and from the configuration otherwise.
    assert_eq!(both.scope, Scope::AllBut(vec!["10.0.0.0/8".parse().expect("network")]));
    let own = read(json!({"runtimeConfig": {"bandwidth": {"ingressRate": 8000}},
        "shapedSubnets": ["fd00::1/8", "10.1.2.3", "fd00::/8"]}))
    .expect("valid");
    let networks = ["fd00::/8", "10.1.2.3/32"].map(|text| text.parse().expect("network"));
    assert_eq!(own.scope, Scope::Only(networks.to_vec()));
    assert_eq!(own.ingress.map(|l| l.rate), Some(1000));
}

#[test]
fn faults_are_named_by_their_key() {
    let many: Vec<_> =
        (0..=SUBNETS_MAX).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256)).collect();
    for (keys, start, code) in [
        (json!({"ingressRate": "1M"}), "ingressRate: ", Code::Decode),
        (json!({"egressBurst": -1}), "egressBurst: ", Code::Decode),
        (json!({"ingressBurst": 5}), "ingressBurst: ", Code::InvalidConfig),
        (json!({"egressRate": 7}), "egressRate: ", Code::InvalidConfig),
        (json!({"unshapedSubnets": "10.0.0.0/8"}), "unshapedSubnets: ", Code::Decode),
        (json!({"unshapedSubnets": ["10.0.0.0/33"]}), "unshapedSubnets[0]: ", Code::InvalidConfig),
        (json!({"shapedSubnets": ["::/0", "x"]}), "shapedSubnets[1]: ", Code::InvalidConfig),
        (json!({"shapedSubnets": many}), "shapedSubnets: ", Code::InvalidConfig),
        (
            json!({"shapedSubnets": ["::/0"], "unshapedSubnets": ["::/0"]}),
            "shapedSubnets: excludes",
            Code::InvalidConfig,
        ),
        (
            json!({"runtimeConfig": {"bandwidth": {"egressRate": "x"}}}),
            "runtimeConfig.bandwidth.egressRate: ",
            Code::Decode,
        ),
        (
            json!({"runtimeConfig": {"bandwidth": {"egressBurst": 1}}}),
            "runtimeConfig.bandwidth.egressBurst: ",
            Code::InvalidConfig,
        ),
    ] {
        let error = read(keys).expect_err(start);
        assert_eq!(error.code, code, "{error}");
        assert!(error.msg.starts_with(start), "{error}");
    }
}
