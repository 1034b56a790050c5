//! Values are read and written in a namespace of the test's own. Needs root.

use netns::Netns;
use sysctl::{Error, Family, interface, read, write};

#[test]
fn a_value_is_written_once() {
    let node = Netns::anonymous().expect("namespace");
    node.run(|| {
        let key = interface(Family::V4, "lo", "arp_notify");
        assert_eq!(read(&key).expect("read"), "0");
        assert!(write(&key, "1").expect("write"));
        assert!(!write(&key, "1").expect("write again"));
        assert_eq!(read("net.ipv4.conf.lo.arp_notify").expect("read"), "1");
        assert!(write(sysctl::IP_FORWARD, "2").is_ok());
        let error = write(sysctl::IP_FORWARD, "x").expect_err("no number");
        assert!(error.to_string().starts_with("sysctl net/ipv4/ip_forward = \"x\": "), "{error}");
    })
    .expect("run");
}

#[test]
fn an_interface_that_is_gone_is_told_apart() {
    let node = Netns::anonymous().expect("namespace");
    node.run(|| {
        let key = interface(Family::V6, "veth.gone", "accept_dad");
        assert!(matches!(write(&key, "0"), Err(Error::NotFound { .. })));
        assert!(read(&key).expect_err("gone").is_not_found());
    })
    .expect("run");
}
