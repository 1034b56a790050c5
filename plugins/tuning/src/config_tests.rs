use super::*;
use serde_json::json;

fn conf(mut keys: Value) -> NetConf {
    for (key, value) in [("name", "net"), ("type", "tuning"), ("cniVersion", "1.1.0")] {
        keys[key] = value.into();
    }
    NetConf::from_value(keys).expect("configuration")
}

fn read(keys: Value) -> Result<Config> {
    Config::read(&conf(keys), &Args::default())
}

#[test]
fn the_examples_of_the_readme_are_valid() {
    let readme = include_str!("../README.md");
    let blocks = readme.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
    let mut seen = 0;
    for block in blocks {
        let document: Value = serde_json::from_str(block).expect("JSON");
        let plugins = document["plugins"].as_array().expect("a list").clone();
        for plugin in plugins.into_iter().filter(|plugin| plugin["type"] == "tuning") {
            let config = read(plugin).expect("valid");
            assert!(config.tunes_link() || !config.sysctls.is_empty());
            seen += 1;
        }
    }
    assert!(seen > 1);
}

#[test]
fn without_keys_nothing_is_tuned() {
    let config = read(json!({"unknown": 1, "mac": "", "mtu": 0, "promisc": false, "sysctl": {}}))
        .expect("valid");
    assert!(!config.tunes_link() && config.sysctls.is_empty());
    assert_eq!(config.data_dir.to_str(), Some("/run/cni/tuning"));
}

#[test]
fn every_key_is_read_and_arguments_win() {
    let own = json!({"dataDir": "/d", "mac": "02:00:00:00:00:01", "promisc": true, "mtu": 1400,
        "txQLen": 0, "allmulti": false,
        "sysctl": {"net.core.somaxconn": "1", "net/ipv4/conf/IFNAME/arp_notify": "0"}});
    let config = read(own.clone()).expect("valid");
    assert!(config.promiscuous);
    assert_eq!((config.mtu, config.queue_length), (Some(1400), Some(0)));
    assert_eq!((config.all_multicast, config.data_dir.to_str()), (Some(false), Some("/d")));
    let keys: Vec<_> = config.sysctls.iter().map(|s| s.key_for("e.7")).collect();
    assert_eq!(keys, ["net/core/somaxconn", "net/ipv4/conf/e.7/arp_notify"]);
    let mut over = own;
    over["args"] = json!({"cni": {"mac": "02:00:00:00:00:09", "promisc": false, "mtu": 1300,
        "txQLen": 5, "allmulti": true, "sysctl": {"net.core.somaxconn": "2"}}});
    let config = read(over).expect("valid");
    assert!(!config.promiscuous);
    assert_eq!((config.mtu, config.queue_length), (Some(1300), Some(5)));
    assert_eq!(config.all_multicast, Some(true));
    assert_eq!(config.sysctls[0].value, "2");
    assert_eq!(config.sysctls.len(), 2);
    // Arguments alone are enough, too.
    let alone = read(json!({"args": {"cni": {"sysctl": {"net.core.somaxconn": "2"}}}}));
    assert_eq!(alone.expect("valid").sysctls.len(), 1);
}

#[test]
fn the_order_of_hardware_addresses_is_the_reference_s() {
    let shown = |keys: Value, args: &str| {
        let args = Args::parse(args).expect("arguments");
        Config::read(&conf(keys), &args).expect("valid").mac.expect("mac").to_string()
    };
    let mut keys = json!({"mac": "02:00:00:00:00:01"});
    assert_eq!(shown(keys.clone(), ""), "02:00:00:00:00:01");
    assert_eq!(shown(keys.clone(), "MAC=02:00:00:00:00:02"), "02:00:00:00:00:02");
    keys["runtimeConfig"] = json!({"mac": "02:00:00:00:00:03"});
    assert_eq!(shown(keys.clone(), "MAC=02:00:00:00:00:02"), "02:00:00:00:00:03");
    keys["args"] = json!({"cni": {"mac": "02:00:00:00:00:04"}});
    assert_eq!(shown(keys, "MAC=02:00:00:00:00:02"), "02:00:00:00:00:04");
}

#[test]
fn faults_are_named_by_their_key() {
    for (keys, start, code) in [
        (json!({"mtu": 67}), "mtu 67: ", Code::InvalidConfig),
        (json!({"mtu": "x"}), "mtu: ", Code::Decode),
        (json!({"mtu": -1}), "mtu: ", Code::Decode),
        (json!({"mac": "x"}), "mac: ", Code::InvalidConfig),
        (json!({"mac": "01:00:00:00:00:01"}), "mac: ", Code::InvalidConfig),
        (json!({"txQLen": -1}), "txQLen: ", Code::Decode),
        (json!({"allmulti": "x"}), "allmulti: ", Code::Decode),
        (json!({"dataDir": "run"}), "dataDir: ", Code::InvalidConfig),
        (json!({"sysctl": {"net.core.somaxconn": 1}}), "sysctl.net.core.somaxconn: ", Code::Decode),
        (json!({"args": {"cni": {"mtu": "x"}}}), "args.cni.mtu: ", Code::Decode),
        (json!({"runtimeConfig": {"mac": "x"}}), "runtimeConfig.mac: ", Code::InvalidConfig),
    ] {
        let error = read(keys).expect_err(start);
        assert_eq!(error.code, code, "{error}");
        assert!(error.msg.starts_with(start), "{error}");
    }
    let args = Args::parse("MAC=x").expect("arguments");
    let error = Config::read(&conf(json!({})), &args).expect_err("address");
    assert_eq!(error.code, Code::InvalidEnvironment);
}

#[test]
fn no_key_leaves_net() {
    for key in [
        "kernel.panic",
        "kernel/panic",
        "net",
        "net.",
        "/net/core/somaxconn",
        "../net/core/somaxconn",
        "net/../kernel/panic",
        "net.core.../kernel.panic",
        "net/core/./somaxconn",
        "net..core.somaxconn",
        "/proc/sys/net/core/somaxconn",
        "net.core.somaxconn\0",
        "",
    ] {
        let error = read(json!({"sysctl": {key: "1"}})).expect_err(key);
        assert_eq!(error.code, Code::InvalidConfig);
        assert!(error.msg.starts_with(&format!("sysctl.{key}: ")), "{error}");
    }
}

#[test]
fn one_sysctl_is_given_once() {
    let error = read(json!({"sysctl": {"net.core.somaxconn": "1", "net/core/somaxconn": "2"}}))
        .expect_err("the same twice");
    assert!(error.msg.contains("is the same as net.core.somaxconn"), "{error}");
    no_key_twice(br#"{"a": 1, "a": 2, "sysctl": {"x": "1", "y": "1"}, "args": null}"#)
        .expect("once");
    for twice in [
        &br#"{"sysctl": {"x": "1", "x": "2"}}"#[..],
        br#"{"args": {"cni": {"sysctl": {"x": "1", "y": "", "x": "1"}}}}"#,
    ] {
        let error = no_key_twice(twice).expect_err("twice");
        assert_eq!(error.code, Code::InvalidConfig);
        assert!(error.msg.starts_with("sysctl: \"x\" is there twice"), "{error}");
    }
}

#[test]
fn the_directory_is_read_whatever_else_is_wrong() {
    let dir = |keys: Value| readable_data_dir(&conf(keys)).to_str().map(str::to_owned);
    assert_eq!(dir(json!({"dataDir": "/d", "mtu": "x"})).as_deref(), Some("/d"));
    for wrong in [json!({"dataDir": 5}), json!({"dataDir": "d"}), json!({})] {
        assert_eq!(dir(wrong).as_deref(), Some(DATA_DIR));
    }
}
