//! Addresses, routes and neighbours in namespaces of the test's own. Needs root.

use ipnetwork::IpNetwork;
use netlink::{Change, Mac, Netlink, Peer, Route, RouteFilter, Veth, Watch};
use netns::Netns;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

fn net(text: &str) -> IpNetwork {
    text.parse().unwrap_or(IpNetwork::V4(ipnetwork::Ipv4Network::from(Ipv4Addr::UNSPECIFIED)))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// A socket in `space`, and a link there that is up and has a carrier.
fn link(space: &Netns) -> netlink::Result<(Netlink, u32)> {
    let netlink = Netlink::open_in(space)?;
    let peer = Peer { name: "d1", namespace: None, mac: None };
    netlink.create_veth(&Veth {
        name: "d0",
        mtu: None,
        mac: None,
        master: None,
        up: false,
        peer,
    })?;
    let link = netlink.expect_link("d0")?.index;
    let quiet = Change { up: Some(true), link_local: Some(false), ..Change::default() };
    netlink.change(link, &quiet)?;
    netlink.change(netlink.expect_link("d1")?.index, &quiet)?;
    Ok((netlink, link))
}

#[test]
fn addresses_are_there_at_once() {
    let space = Netns::anonymous().expect("namespace");
    let (netlink, link) = link(&space).expect("link");
    assert_eq!(netlink.addresses(link).expect("list"), []);
    for text in ["10.1.2.3/24", "fd00::3/64"] {
        netlink.add_address(link, net(text), false).expect(text);
        assert!(netlink.add_address(link, net(text), false).expect_err("twice").is_exists());
    }
    let list = netlink.addresses(link).expect("list");
    let networks: Vec<_> = list.iter().map(|a| a.network.to_string()).collect();
    assert_eq!(networks, ["10.1.2.3/24", "fd00::3/64"]);
    assert!(list.iter().all(|a| !a.tentative && !a.duplicate && a.scope == 0));
    assert!(netlink.delete_address(link, net("10.1.2.3/24")).expect("delete"));
    assert!(!netlink.delete_address(link, net("10.1.2.3/24")).expect("again"));
    assert_eq!(netlink.addresses(link).expect("list").len(), 1);
    assert_eq!(netlink.addresses(4711).expect("no such link"), []);
}

#[test]
fn every_attribute_of_a_route_is_kept() {
    let space = Netns::anonymous().expect("namespace");
    let (netlink, link) = link(&space).expect("link");
    netlink.add_address(link, net("10.1.2.3/24"), false).expect("address");
    netlink.add_address(link, net("fd00::3/64"), false).expect("address");
    let all = |dst, gateway| Route {
        gateway: Some(ip(gateway)),
        link: Some(link),
        table: Some(1000),
        priority: Some(50),
        mtu: Some(1300),
        advmss: Some(1200),
        ..Route::to(net(dst))
    };
    let want = [all("10.9.0.0/16", "10.1.2.1"), all("fd01::/64", "fd00::1")];
    for route in &want {
        netlink.add_route(route).expect("add");
        assert!(netlink.add_route(route).expect_err("twice").is_exists());
        netlink.replace_route(route).expect("replace");
    }
    let filter = RouteFilter { link: Some(link), table: Some(1000) };
    let got = netlink.routes(filter).expect("routes");
    assert_eq!(got, want.map(|r| Route { scope: Some(0), ..r }));
    for route in &want {
        assert!(netlink.delete_route(route).expect("delete"));
        assert!(!netlink.delete_route(route).expect("again"));
    }
    assert_eq!(netlink.routes(filter).expect("routes"), []);
    let none = RouteFilter { link: None, table: Some(4242) };
    assert_eq!(netlink.routes(none).expect("no such table"), []);
}

#[test]
fn scope_and_onlink_are_honoured() {
    let space = Netns::anonymous().expect("namespace");
    let (netlink, link) = link(&space).expect("link");
    netlink.add_address(link, net("10.1.2.3/32"), false).expect("address");
    let direct = Route {
        link: Some(link),
        scope: Some(253),
        source: Some(ip("10.1.2.3")),
        ..Route::to(net("169.254.1.1/32"))
    };
    netlink.add_route(&direct).expect("direct");
    let default = Route {
        gateway: Some(ip("10.200.0.1")),
        link: Some(link),
        onlink: true,
        ..Route::to(net("0.0.0.0/0"))
    };
    let plain = Route { onlink: false, ..default };
    let error = netlink.add_route(&plain).expect_err("gateway is not on the link");
    assert_eq!(error.text, "Nexthop has invalid gateway", "{error}");
    netlink.add_route(&default).expect("onlink");
    let main = RouteFilter { link: Some(link), table: Some(254) };
    let got = netlink.routes(main).expect("routes");
    assert!(got.contains(&Route { table: Some(254), ..direct }), "{got:?}");
    assert!(got.contains(&Route { table: Some(254), scope: Some(0), ..default }), "{got:?}");
}

#[test]
fn neighbours_are_set_by_hand() {
    let space = Netns::anonymous().expect("namespace");
    let (netlink, link) = link(&space).expect("link");
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    netlink.set_neighbour(link, ip("10.1.2.1"), mac).expect("set");
    netlink.set_neighbour(link, ip("10.1.2.1"), mac).expect("set again");
    let list = netlink.neighbours(link).expect("list");
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].ip, list[0].mac, list[0].permanent), (ip("10.1.2.1"), Some(mac), true));
    assert!(netlink.delete_neighbour(link, ip("10.1.2.1")).expect("delete"));
    assert!(!netlink.delete_neighbour(link, ip("10.1.2.1")).expect("again"));
}

#[test]
fn routes_with_the_same_destination_are_appended() {
    let space = Netns::anonymous().expect("namespace");
    let (netlink, link) = link(&space).expect("link");
    netlink.add_address(link, net("10.1.2.3/24"), false).expect("address");
    netlink.add_address(link, net("fd00::3/64"), false).expect("address");
    for (dst, hops) in [("0.0.0.0/0", ["10.1.2.1", "10.1.2.2"]), ("::/0", ["fd00::1", "fd00::2"])] {
        for hop in hops {
            let gateway = Some(ip(hop));
            let route = Route { gateway, link: Some(link), ..Route::to(net(dst)) };
            netlink.append_route(&route).expect("append");
            assert!(netlink.append_route(&route).expect_err("the same").is_exists());
        }
        let all = netlink.routes(RouteFilter { link: Some(link), table: Some(254) }).expect("list");
        let found: Vec<_> =
            all.iter().filter(|r| r.dst == net(dst)).filter_map(|r| r.gateway).collect();
        assert_eq!(found, hops.map(ip));
    }
}

#[test]
fn a_notice_ends_the_wait() {
    let space = Netns::anonymous().expect("namespace");
    let limit = Duration::from_secs(10);
    let (netlink, watch) = space
        .run(|| (Netlink::open().expect("socket"), Watch::open().expect("watch")))
        .expect("enter");
    let peer = Peer { name: "d1", namespace: None, mac: None };
    let pair = Veth { name: "d0", mtu: None, mac: None, master: None, up: true, peer };
    netlink.create_veth(&pair).expect("veth");
    let link = netlink.expect_link("d0").expect("d0").index;
    assert!(!watch.running(&netlink, link, Duration::from_millis(1)).expect("no carrier"));
    netlink.set_up(netlink.expect_link("d1").expect("d1").index).expect("up");
    assert!(watch.running(&netlink, link, limit).expect("carrier"));
    netlink.add_address(link, net("fd00::1/64"), true).expect("address");
    let start = Instant::now();
    let list = watch.settled(&netlink, link, limit).expect("settled");
    assert!(list.iter().any(|a| a.network == net("fd00::1/64")), "{list:?}");
    assert!(list.iter().all(|a| !a.tentative && !a.duplicate), "{list:?}");
    assert!(start.elapsed() < limit);
    assert!(watch.running(&netlink, 4711, limit).expect_err("gone").is_not_found());
}
