//! Requests, results and expectations.

use super::*;
use cni_types::{Args, NetConf};
use serde_json::json;

fn config() -> Config {
    let conf = NetConf::from_value(json!({
        "cniVersion": "1.1.0", "name": "net", "type": "host-local",
        "ipam": {
            "ranges": [
                [{"subnet": "10.1.0.0/24", "rangeEnd": "10.1.0.99"}, {"subnet": "10.2.0.0/24"}],
                [{"subnet": "fd00::/64"}]
            ],
            "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}]
        }
    }));
    Config::read(&conf.expect("conf"), &Args::default()).expect("config")
}

fn ips(list: &[&str]) -> Vec<Bits> {
    list.iter().map(|ip| bits(ip.parse().expect("ip"))).collect()
}

#[test]
fn each_request_goes_to_its_range_set() {
    let sets = config().sets;
    let wishes = requests(&sets, &ips(&["fd00::9", "10.2.0.5"])).expect("requests");
    let [v4, v6] = [ips(&["10.2.0.5"])[0], ips(&["fd00::9"])[0]];
    assert_eq!(wishes, [Some(v4), Some(v6)]);
    assert_eq!(requests(&sets, &[]).expect("none"), [None, None]);
}

#[test]
fn requests_that_cannot_be_met_are_refused_before_anything_is_leased() {
    let sets = config().sets;
    for (list, text) in [
        (vec!["10.1.0.100"], "10.1.0.100: is in no configured range"),
        (vec!["192.0.2.1"], "192.0.2.1: is in no configured range"),
        (vec!["10.2.0.1"], "10.2.0.1: is the gateway"),
        (vec!["10.2.0.5", "10.1.0.5"], "10.1.0.5: is in the same range set as 10.2.0.5"),
    ] {
        let error = requests(&sets, &ips(&list)).expect_err(text);
        assert_eq!(error.code, Code::InvalidConfig);
        assert!(error.msg.contains(text), "{error}");
        assert!(error.details.contains("fd00::1-"), "{error}");
    }
}

#[test]
fn the_result_has_the_subnet_and_gateway_of_each_address() {
    let config = config();
    let result = result(&config, &ips(&["10.2.0.7", "fd00::5"])).expect("result");
    let shown: Vec<_> = result
        .ips
        .iter()
        .map(|ip| format!("{} {:?} {:?}", ip.address, ip.gateway, ip.interface))
        .collect();
    assert_eq!(shown, ["10.2.0.7/24 Some(10.2.0.1) None", "fd00::5/64 Some(fd00::1) None"]);
    assert_eq!(result.routes, config.routes);
    assert!(super::result(&config, &ips(&["10.9.0.1", "fd00::5"])).is_err());
}

#[test]
fn only_addresses_of_the_ranges_must_be_leased() {
    let config = config();
    let mut result = result(&config, &ips(&["10.1.0.7", "fd00::5"])).expect("result");
    result.ips[1].address = "192.0.2.5/24".parse().expect("net");
    let expected = expected(&config.sets, &result);
    assert_eq!(expected, [(ips(&["10.1.0.7"])[0], true), (ips(&["192.0.2.5"])[0], false)]);
}
