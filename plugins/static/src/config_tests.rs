//! Every key, and every refusal with the key's name.

use super::*;
use serde_json::{Value, json};

fn read_with(args: &str, more: Value) -> Result<Config> {
    let mut whole = json!({"cniVersion": "1.1.0", "name": "net", "type": "static"});
    let (Value::Object(map), Value::Object(more)) = (&mut whole, more) else {
        panic!("objects");
    };
    map.extend(more);
    let args = Args::parse(args).expect("arguments");
    Config::read(&NetConf::from_value(whole).expect("configuration"), &args)
}

fn read(more: Value) -> Result<Config> {
    read_with("", more)
}

fn shown(config: &Config) -> Vec<String> {
    let one = |a: &Address| match a.gateway {
        Some(gateway) => format!("{} via {gateway}", a.net),
        None => a.net.to_string(),
    };
    config.addresses.iter().map(one).collect()
}

fn refusal(more: Value) -> String {
    read(more).expect_err("must be refused").to_string()
}

#[test]
fn everything_is_passed_on() {
    let config = read(json!({"ipam": {
        "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "fd01::5/64"}],
        "routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["10.1.0.53"]}}}))
    .expect("config");
    assert_eq!(shown(&config), ["10.1.0.5/24 via 10.1.0.1", "fd01::5/64"]);
    assert_eq!((config.routes.len(), config.dns.nameservers.len()), (1, 1));
}

#[test]
fn arguments_add_and_the_runtime_replaces() {
    let ipam = json!({"addresses": [{"address": "10.1.0.5/24"}]});
    let args = "IP=10.2.0.5/24, fd02::5/64;GATEWAY=10.2.0.1,fd02::1";
    let config = read_with(args, json!({"ipam": ipam})).expect("config");
    assert_eq!(
        shown(&config),
        ["10.1.0.5/24", "10.2.0.5/24 via 10.2.0.1", "fd02::5/64 via fd02::1"]
    );
    let replaced = json!({"ipam": ipam, "args": {"cni": {"ips": ["10.3.0.5/24"]}}});
    assert_eq!(shown(&read(replaced).expect("config")), ["10.3.0.5/24"]);
    let both = json!({"ipam": ipam, "args": {"cni": {"ips": ["10.3.0.5/24"]}},
        "runtimeConfig": {"ips": ["10.4.0.5/24"]}});
    assert_eq!(shown(&read(both).expect("config")), ["10.4.0.5/24"]);
    for args in ["IP=10.2.0.5", "IP=x", "GATEWAY=10.2.0.1/24"] {
        let error = read_with(args, json!({"ipam": ipam})).expect_err(args);
        assert!(error.to_string().contains("CNI_ARGS"), "{error}");
    }
}

#[test]
fn refusals_name_their_key() {
    let with = |addresses: Value| json!({"ipam": {"addresses": addresses}});
    assert!(refusal(json!({})).starts_with("ipam: is missing"));
    assert!(refusal(json!({"ipam": {}})).starts_with("ipam.addresses: no address"));
    assert!(refusal(with(json!([{"address": "10.0.0.1"}]))).contains("ipam.addresses[0].address"));
    assert!(refusal(with(json!([{"gateway": "10.0.0.1"}]))).contains("address"));
    assert!(refusal(with(json!([{"address": "::ffff:10.0.0.1/120"}]))).contains("IPv6 form"));
    assert!(refusal(with(json!([{"address": "0.0.0.0/0"}]))).contains("0.0.0.0/0"));
    assert!(
        refusal(with(json!([{"address": "10.0.0.1/8"}, {"address": "10.0.0.1/9"}])))
            .contains("twice")
    );
    let mixed = json!([{"address": "10.0.0.1/8", "gateway": "fd00::1"}]);
    assert!(refusal(with(mixed)).contains("other family"));
    let two = json!({"cniVersion": "0.2.0", "ipam": {"addresses":
        [{"address": "10.0.0.1/8"}, {"address": "10.0.0.2/8"}]}});
    assert!(refusal(two).contains("one address per family"));
}

#[test]
fn status_knows_the_capability() {
    let conf = |more: Value| {
        let mut whole = json!({"cniVersion": "1.1.0", "name": "net", "type": "static", "ipam": {}});
        whole.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
        NetConf::from_value(whole).expect("configuration")
    };
    assert!(Config::read_for_status(&conf(json!({}))).is_err());
    assert!(Config::read_for_status(&conf(json!({"capabilities": {"ips": true}}))).is_ok());
}

#[test]
fn the_example_of_the_readme_is_valid() {
    let text = include_str!("../README.md");
    let example = text.split("```json").nth(1).and_then(|rest| rest.split("```").next());
    let document: Value = serde_json::from_str(example.expect("an example")).expect("JSON");
    let conf = NetConf::from_value(document).expect("configuration");
    let config = Config::read(&conf, &Args::default()).expect("valid");
    assert_eq!(shown(&config), ["10.22.0.5/24 via 10.22.0.1", "2001:db8:22::5/64"]);
}
