//! Asking for the way to an address, in a namespace of the test's own.

#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use netlink::Netlink;
use netns::Netns;
use std::net::Ipv4Addr;

#[test]
fn the_way_to_an_address_is_told() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let space = Netns::anonymous().expect("namespace");
    let netlink = Netlink::open_in(&space).expect("socket");
    let way = |ip: &str| netlink.way_to(ip.parse().expect("address")).expect("answer");
    assert_eq!(way("192.0.2.7"), None);
    assert_eq!(way("2001:db8::7"), None);
    let loopback = netlink.link_by_name("lo").expect("answer").expect("lo").index;
    netlink.set_up(loopback).expect("up");
    let net = "192.0.2.1/24".parse().expect("net");
    netlink.add_address(loopback, net, false).expect("address");
    let found = way("192.0.2.1").expect("a way");
    assert!(found.is_local && found.link == loopback);
    assert_eq!(way("198.51.100.1"), None);
    let own = netlink.own_ipv4().expect("addresses");
    assert_eq!(own, ["127.0.0.1", "192.0.2.1"].map(|a| a.parse::<Ipv4Addr>().expect("address")));
    // A broadcast address is reached but is nobody's own.
    assert!(!way("192.0.2.255").is_some_and(|w| w.is_local));
}
