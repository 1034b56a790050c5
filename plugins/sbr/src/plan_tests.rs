use super::*;
use cni_types::{Interface, IpConfig};

const LINK: u32 = 7;

fn net(text: &str) -> IpNetwork {
    text.parse().expect("network")
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect("address"))
}

fn source(address: &str, gateway: Option<IpAddr>) -> Source {
    Source { address: net(address), gateway }
}

fn route(dst: &str, gateway: Option<IpAddr>) -> Route {
    Route { gateway, link: Some(LINK), table: Some(MAIN), ..Route::to(net(dst)) }
}

fn connected(dst: &str, source: &str) -> Route {
    Route { source: ip(source), scope: Some(253), ..route(dst, None) }
}

/// A pod with one interface as a network plugin leaves it.
fn fresh() -> Present {
    let routes = vec![
        route("0.0.0.0/0", ip("10.0.0.1")),
        connected("10.0.0.0/24", "10.0.0.5"),
        route("fe80::/64", None),
        route("fd00::/64", None),
        Route { link: Some(3), ..route("192.0.2.0/24", None) },
    ];
    let rules = vec![
        PolicyRule::from_source(net("0.0.0.0/0"), 255),
        PolicyRule::from_source(net("0.0.0.0/0"), MAIN),
    ];
    Present { link: LINK, routes, rules }
}

fn in_table(route: Route, table: u32) -> Route {
    Route { table: Some(table), ..route }
}

#[test]
fn each_address_gets_a_table_of_its_own() {
    let sources = [source("10.0.0.5/24", ip("10.0.0.1")), source("fd00::5/64", ip("fd00::1"))];
    let steps = steps(&sources, &Config::default(), &fresh());
    assert_eq!(
        steps.rules,
        [
            PolicyRule::from_source(net("10.0.0.5/32"), 100),
            PolicyRule::from_source(net("fd00::5/128"), 101),
        ]
    );
    assert_eq!(
        steps.routes,
        [
            in_table(connected("10.0.0.0/24", "10.0.0.5"), 100),
            in_table(route("0.0.0.0/0", ip("10.0.0.1")), 100),
            in_table(route("fe80::/64", None), 101),
            in_table(route("fd00::/64", None), 101),
            in_table(route("::/0", ip("fd00::1")), 101),
        ]
    );
    assert_eq!(
        steps.leaving,
        [
            route("0.0.0.0/0", ip("10.0.0.1")),
            connected("10.0.0.0/24", "10.0.0.5"),
            route("fd00::/64", None),
        ]
    );
    assert!(steps.stale.is_empty() && steps.hints.is_empty());
}

#[test]
fn tables_in_use_are_passed_over_and_leftovers_are_taken_again() {
    let mut present = fresh();
    present.rules.push(PolicyRule::from_source(net("192.0.2.1/32"), 100));
    present.routes.push(Route { link: Some(3), ..in_table(route("0.0.0.0/0", None), 101) });
    let left = in_table(route("10.9.0.0/24", None), 102);
    present.routes.push(left);
    let steps = steps(&[source("10.0.0.5/24", None)], &Config::default(), &present);
    assert_eq!(steps.rules, [PolicyRule::from_source(net("10.0.0.5/32"), 102)]);
    assert_eq!(steps.stale, [left]);
}

#[test]
fn a_second_add_changes_nothing() {
    let sources = [source("10.0.0.5/24", ip("10.0.0.1"))];
    let mut present = fresh();
    let first = steps(&sources, &Config::default(), &present);
    present.routes.retain(|route| !first.leaving.contains(route));
    present.routes.extend(&first.routes);
    present.rules.extend(&first.rules);
    let second = steps(&sources, &Config::default(), &present);
    assert_eq!(second.routes, [in_table(route("0.0.0.0/0", ip("10.0.0.1")), 100)]);
    assert_eq!(Steps { routes: Vec::new(), ..second }, Steps::default());
}

#[test]
fn a_configured_gateway_goes_before_others() {
    let config =
        Config { gateways: vec!["10.0.0.9".parse().expect("address")], ..Config::default() };
    let result = CniResult {
        ips: vec![IpConfig {
            interface: None,
            address: net("10.0.0.5/24"),
            gateway: ip("10.0.0.1"),
        }],
        ..CniResult::default()
    };
    let sources = sources(&result, "eth0", &config).expect("sources");
    let steps = steps(&sources, &config, &fresh());
    let defaults: Vec<_> = steps.routes.iter().filter(|r| r.dst.prefix() == 0).collect();
    assert_eq!(defaults, [&in_table(route("0.0.0.0/0", ip("10.0.0.9")), 100)]);
}

#[test]
fn a_subnet_that_the_main_table_has_lost_is_known_again() {
    let mut present = fresh();
    present.routes.retain(|route| route.link != Some(LINK));
    // What somebody left in the table is taken away, and does not count.
    present.routes.push(in_table(connected("10.0.0.0/24", "10.0.0.5"), 100));
    let source = source("10.0.0.5/24", ip("10.0.0.1"));
    let steps = steps(&[source], &Config::default(), &present);
    let dst: Vec<_> = steps.routes.iter().map(|r| (r.dst.network(), r.dst.prefix())).collect();
    assert_eq!(dst, [("10.0.0.0", 24), ("0.0.0.0", 0)].map(|(ip, n)| (ip.parse().expect("ip"), n)));
    assert_eq!(steps.routes[0].source, ip("10.0.0.5"));
}

#[test]
fn a_given_table_gets_rules_only() {
    let config = Config { table: Some(5000), ..Config::default() };
    let sources = [source("10.0.0.5/24", ip("10.0.0.1"))];
    let rule = PolicyRule::from_source(net("10.0.0.5/32"), 5000);
    let mut present = fresh();
    let wished = steps(&sources, &config, &present);
    assert_eq!(wished, Steps { rules: vec![rule], ..Steps::default() });
    present.rules.push(rule);
    assert_eq!(steps(&sources, &config, &present), Steps::default());
}

#[test]
fn source_hints_keep_the_subnets() {
    let config = Config { source_hints: true, ..Config::default() };
    let sources = [source("10.0.0.5/24", ip("10.0.0.1")), source("fd01::5/64", None)];
    let steps = steps(&sources, &config, &fresh());
    let new =
        Route { priority: Some(V6_METRIC), source: ip("fd01::5"), ..route("fd01::/64", None) };
    assert_eq!(steps.hints.len(), 2);
    assert_eq!(steps.hints[0], connected("10.0.0.0/24", "10.0.0.5"));
    assert!(is_same(&steps.hints[1], &new) && steps.hints[1].source == new.source);
    assert_eq!(steps.leaving, [route("0.0.0.0/0", ip("10.0.0.1")), route("fd00::/64", None)]);
}

#[test]
fn only_addresses_of_the_interface_count() {
    let interface = |name: &str| Interface { name: name.to_owned(), ..Interface::default() };
    let on = |index: usize, address: &str| IpConfig {
        interface: Some(index),
        address: net(address),
        gateway: None,
    };
    let result = CniResult {
        interfaces: vec![interface("br0"), interface("eth0")],
        ips: vec![on(0, "10.0.0.1/24"), on(1, "10.0.0.5/24"), on(1, "10.0.0.5/24")],
        ..CniResult::default()
    };
    let found = sources(&result, "eth0", &Config::default()).expect("one");
    assert_eq!(found, [source("10.0.0.5/24", None)]);
    let error = sources(&result, "eth1", &Config::default()).expect_err("none");
    assert_eq!(error.code, Code::InvalidConfig);
    assert!(error.msg.contains("eth1"), "{error}");
}
