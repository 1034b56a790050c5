//! Every key, and every refusal with the key's name.

use super::*;
use crate::range::address;
use serde_json::{Value, json};

fn conf(document: Value) -> NetConf {
    let mut whole = json!({"cniVersion": "1.1.0", "name": "net", "type": "host-local"});
    let (Value::Object(whole_map), Value::Object(more)) = (&mut whole, document) else {
        panic!("objects");
    };
    whole_map.extend(more);
    NetConf::from_value(whole).expect("configuration")
}

fn read(document: Value) -> Result<Config> {
    Config::read(&conf(document), &Args::default())
}

fn ipam(ipam: Value) -> Result<Config> {
    read(json!({"ipam": ipam}))
}

fn shown(config: &Config) -> Vec<String> {
    config.sets.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults() {
    let config = ipam(json!({"subnet": "10.1.2.0/24"})).expect("config");
    assert_eq!(config.place.data_dir, PathBuf::from("/var/lib/cni/networks"));
    assert_eq!(config.place.network, "net");
    assert_eq!(shown(&config), ["10.1.2.1-10.1.2.254"]);
    assert_eq!(config.sets[0].usable(), 253, "all but the gateway");
    assert_eq!(address(config.sets[0].first()).to_string(), "10.1.2.2");
    let range = config.sets[0].range_of(config.sets[0].first()).expect("range");
    assert_eq!((range.gateway().to_string(), range.prefix()), ("10.1.2.1".to_owned(), 24));
    assert!(config.routes.is_empty() && config.requested.is_empty());
    assert_eq!(config.resolv_conf, "");

    let config = ipam(json!({"ranges": [[{"subnet": "2001:db8::/64"}]]})).expect("config");
    assert_eq!(shown(&config), ["2001:db8::1-2001:db8::ffff:ffff:ffff:ffff"]);
    assert_eq!(config.sets[0].usable(), u64::MAX - 1);
}

#[test]
fn the_order_is_runtime_then_old_style_then_ranges() {
    let config = read(json!({
        "ipam": {
            "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.20",
            "gateway": "10.1.0.254", "dataDir": "/run/leases", "resolvConf": "/etc/resolv.conf",
            "ranges": [
                [{"subnet": "10.2.0.0/24"}, {"subnet": "10.3.0.0/24", "rangeEnd": "10.3.0.9"}],
                [{"subnet": "fd00::/120", "rangeStart": "fd00::10", "gateway": ""}]
            ],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.1.0.7",
                "mtu": 1400, "advmss": 1360, "priority": 5, "table": 99, "scope": 253}],
            "future": {"key": true}
        },
        "runtimeConfig": {"ipRanges": [[{"subnet": "10.4.0.0/24"}]]}
    }))
    .expect("config");
    assert_eq!(
        shown(&config),
        [
            "10.4.0.1-10.4.0.254",
            "10.1.0.10-10.1.0.20",
            "10.2.0.1-10.2.0.254,10.3.0.1-10.3.0.9",
            "fd00::10-fd00::ff"
        ]
    );
    assert_eq!(config.place.data_dir, PathBuf::from("/run/leases"));
    assert_eq!(config.resolv_conf, "/etc/resolv.conf");
    let route = &config.routes[1];
    assert_eq!(
        (route.mtu, route.advmss, route.priority, route.table, route.scope),
        (Some(1400), Some(1360), Some(5), Some(99), Some(253))
    );
}

#[test]
fn requested_addresses_come_from_three_places_once_each() {
    let document = json!({
        "ipam": {"subnet": "10.1.0.0/24"},
        "args": {"cni": {"ips": ["10.1.0.6/24", "10.1.0.5"]}},
        "runtimeConfig": {"ips": ["::ffff:10.1.0.7", "10.1.0.5/16"]}
    });
    let args = Args::parse("IgnoreUnknown=1;IP=10.1.0.5;K8S_POD_NAME=a").expect("args");
    let config = Config::read(&conf(document), &args).expect("config");
    let requested: Vec<_> = config.requested.iter().map(|ip| address(*ip).to_string()).collect();
    assert_eq!(requested, ["10.1.0.5", "10.1.0.6", "10.1.0.7"]);

    let args = Args::parse("IP=10.1.0.300").expect("args");
    let error = Config::read(&conf(json!({"ipam": {"subnet": "10.1.0.0/24"}})), &args)
        .expect_err("no address");
    assert_eq!(error.code, Code::InvalidEnvironment);
    assert!(error.msg.contains("10.1.0.300"), "{error}");
}

#[test]
fn network_and_broadcast_addresses_are_never_offered() {
    let config = ipam(json!({"ranges": [[
        {"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.0", "rangeEnd": "10.1.0.7"}
    ]]}))
    .expect("config");
    assert_eq!(shown(&config), ["10.1.0.1-10.1.0.6"]);
    let config = ipam(json!({"subnet": "fd00::/126", "rangeStart": "fd00::"})).expect("config");
    assert_eq!(shown(&config), ["fd00::1-fd00::3"]);
}

#[test]
fn a_gateway_in_another_range_is_never_offered() {
    let config = ipam(json!({"ranges": [
        [{"subnet": "10.1.0.0/16", "rangeStart": "10.1.1.1", "rangeEnd": "10.1.1.9",
          "gateway": "10.1.2.3"}],
        [{"subnet": "10.1.0.0/16", "rangeStart": "10.1.2.1", "rangeEnd": "10.1.2.9"}]
    ]}))
    .expect("config");
    assert!(!config.sets[1].offers(bits("10.1.2.3".parse().expect("ip"))));
    assert_eq!(config.sets[1].usable(), 8);
}

#[test]
fn invalid_ranges_are_refused_by_name() {
    let cases = [
        (json!({"subnet": "10.1.0.1/24"}), "ipam.subnet: 10.1.0.1/24 has host bits"),
        (json!({"subnet": "10.1.0.0/31"}), "too small"),
        (json!({"subnet": "10.1.0.0/32"}), "too small"),
        (json!({"subnet": "fd00::/127"}), "too small"),
        (json!({"subnet": "10.1.0.0/24", "rangeStart": "10.1.1.1"}), "rangeStart 10.1.1.1"),
        (json!({"subnet": "10.1.0.0/24", "rangeEnd": "10.0.255.255"}), "rangeEnd 10.0.255.255"),
        (json!({"subnet": "10.1.0.0/24", "rangeEnd": "fd00::1"}), "rangeEnd fd00::1"),
        (
            json!({"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}),
            "no address to give out",
        ),
        (json!({"subnet": "10.1.0.0/24", "gateway": "fd00::1"}), "gateway fd00::1"),
        (
            json!({"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.1", "rangeEnd": "10.1.0.1"}),
            "no address besides its gateway",
        ),
        (json!({"ranges": [[]]}), "ipam.ranges[0]: is an empty range set"),
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]}),
            "ipam.ranges[0]: mixes",
        ),
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.1.0.0/25"}]]}),
            "ipam.ranges[0]: 10.1.0.1-10.1.0.254 overlaps",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "ranges": [[{"subnet": "10.1.0.0/24"}]]}),
            "ipam.ranges[0]: overlaps ipam.subnet",
        ),
        (json!({}), "ipam.ranges: no range"),
        (json!({"rangeStart": "10.1.0.9"}), "ipam.ranges: no range"),
        (json!({"subnet": "10.1.0.0/24", "dataDir": "leases"}), "ipam.dataDir: leases"),
    ];
    for (document, text) in cases {
        let error = ipam(document.clone()).expect_err("invalid");
        assert_eq!(error.code, Code::InvalidConfig, "{document}: {error}");
        assert!(error.msg.contains(text), "{document}: {error}");
        assert!(!error.details.is_empty(), "{error}");
    }
    assert_eq!(read(json!({})).expect_err("no ipam").code, Code::InvalidConfig);
}

#[test]
fn what_is_no_address_is_refused_with_the_path_of_its_key() {
    let cases = [
        (json!({"subnet": "10.1.0.0"}), "ipam.subnet"),
        (json!({"subnet": "10.1.0.0/33"}), "ipam.subnet"),
        (json!({"subnet": "::ffff:10.1.0.0/120"}), "ipam.subnet"),
        (json!({"subnet": 5}), "ipam.subnet"),
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/24", "gateway": "x"}]]}),
            "ipam.ranges[0][0].gateway",
        ),
        (json!({"ranges": [[{"rangeStart": "10.1.0.1"}]]}), "ipam.ranges[0][0]"),
        (json!({"ranges": [{"subnet": "10.1.0.0/24"}]}), "ipam.ranges[0]"),
        (json!({"routes": [{"dst": "x"}]}), "ipam.routes[0].dst"),
        (json!({"routes": {}}), "ipam.routes"),
        (json!({"resolvConf": []}), "ipam.resolvConf"),
        (json!({"dataDir": 1}), "ipam.dataDir"),
    ];
    for (document, path) in cases {
        let error = ipam(document.clone()).expect_err("wrong");
        assert_eq!(error.code, Code::Decode, "{document}: {error}");
        assert!(error.msg.starts_with(path), "{document}: {error}");
    }
    for (document, path) in [
        (json!({"ipam": 5}), "ipam"),
        (json!({"ipam": {}, "runtimeConfig": {"ips": ["x"]}}), "runtimeConfig.ips[0]"),
        (json!({"ipam": {}, "runtimeConfig": {"ipRanges": [{}]}}), "runtimeConfig.ipRanges[0]"),
        (json!({"ipam": {}, "args": {"cni": {"ips": "x"}}}), "args.cni.ips"),
    ] {
        let error = read(document.clone()).expect_err("wrong");
        assert_eq!(error.code, Code::Decode, "{document}: {error}");
        assert!(error.msg.starts_with(path), "{document}: {error}");
    }
}

#[test]
fn old_versions_have_one_address_of_each_family() {
    let many = |version: &str, ranges: Value| {
        read(json!({"cniVersion": version, "ipam": {"ranges": ranges}})).map(|c| c.sets.len())
    };
    let two_v4 = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]);
    let two_v6 = json!([[{"subnet": "fd00::/64"}], [{"subnet": "fd01::/64"}]]);
    let dual = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]);
    for version in ["0.1.0", "0.2.0", ""] {
        assert_eq!(many(version, dual.clone()), Ok(2));
        for ranges in [&two_v4, &two_v6] {
            let error = many(version, ranges.clone()).expect_err("two of a family");
            assert_eq!(error.code, Code::InvalidConfig);
        }
    }
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        assert_eq!(many(version, two_v4.clone()), Ok(2));
    }
}

#[test]
fn del_and_gc_need_no_valid_ranges() {
    let broken = json!({"ipam": {"dataDir": "/run/x", "ranges": "all", "subnet": 7}});
    let place = Place::read(&conf(broken)).expect("place");
    assert_eq!(place, Place { data_dir: "/run/x".into(), network: "net".to_owned() });
    assert_eq!(Place::read(&conf(json!({}))).expect("place").data_dir, PathBuf::from(DATA_DIR));
    assert_eq!(
        Place::read(&conf(json!({"ipam": {"dataDir": 1}}))).expect_err("number").code,
        Code::Decode
    );
}

#[test]
fn status_needs_no_ranges_where_the_runtime_brings_them() {
    let status = |document| Config::read_for_status(&conf(document));
    let brought = json!({"ipam": {}, "capabilities": {"ipRanges": true}});
    assert!(status(brought).expect("config").sets.is_empty());
    assert_eq!(status(json!({"ipam": {}})).expect_err("none").code, Code::InvalidConfig);
}

#[test]
fn the_examples_of_the_readme_are_valid() {
    let text = include_str!("../README.md");
    let examples: Vec<_> =
        text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let document: Value = serde_json::from_str(example).expect(example);
        let conf = NetConf::from_value(document).expect(example);
        Config::read(&conf, &Args::default()).expect(example);
        Config::read_for_status(&conf).expect(example);
    }
    for key in [
        "ranges",
        "routes",
        "dataDir",
        "resolvConf",
        "subnet",
        "rangeStart",
        "rangeEnd",
        "gateway",
        "runtimeConfig.ipRanges",
        "runtimeConfig.ips",
        "args.cni.ips",
        "IP=",
    ] {
        assert!(text.contains(&format!("`{key}`")), "{key} is not documented");
    }
}
