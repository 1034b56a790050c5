//! Options to leases.

use super::*;
use crate::wire::v4::Kind;
use std::time::Duration;

fn ack(options: &[(u8, &[u8])]) -> Message {
    let mut ack = Message::new(Kind::Ack, 1, [2, 0, 0, 0, 0, 5]);
    ack.reply = true;
    ack.yours = Ipv4Addr::new(10, 1, 0, 9);
    let usual: [(u8, &[u8]); 3] = [
        (code::SUBNET_MASK, &[255, 255, 255, 0]),
        (code::SERVER, &[10, 1, 0, 1]),
        (code::LEASE_TIME, &[0, 0, 2, 88]),
    ];
    for (number, value) in usual.iter().chain(options) {
        ack.options.insert(*number, value.to_vec());
    }
    ack
}

fn lease(options: &[(u8, &[u8])]) -> Lease {
    of_ack(&ack(options), [6; 6], Time::default(), None).expect("a lease")
}

fn shown(routes: &[Route]) -> Vec<String> {
    let one = |r: &Route| match (r.gw, r.scope) {
        (Some(gw), None) => format!("{} via {gw}", r.dst),
        (None, Some(scope)) => format!("{} scope {scope}", r.dst),
        other => panic!("{other:?}"),
    };
    routes.iter().map(one).collect()
}

#[test]
fn a_usual_lease() {
    let lease =
        lease(&[(3, &[10, 1, 0, 1, 10, 1, 0, 2]), (6, &[10, 1, 0, 53]), (15, b"a.example\0")]);
    assert_eq!(lease.address.to_string(), "10.1.0.9/24");
    assert_eq!(lease.gateway, "10.1.0.1".parse().ok());
    assert_eq!(shown(&lease.routes), ["0.0.0.0/0 via 10.1.0.1"]);
    assert_eq!(lease.dns.nameservers, ["10.1.0.53"]);
    assert_eq!(lease.dns.domain, "a.example");
    assert!(lease.dns.search.is_empty());
    assert_eq!(lease.expiry, Time::default().after(Duration::from_secs(600)));
    assert_eq!(lease.mtu, None);
}

#[test]
fn classless_routes_take_the_place_of_all_others() {
    let list = [&[32, 10, 1, 0, 1, 0, 0, 0, 0][..], &[0, 10, 1, 0, 1], &[12, 172, 31, 10, 1, 0, 7]]
        .concat();
    let lease = lease(&[(121, &list), (33, &[10, 9, 0, 0, 10, 1, 0, 3]), (3, &[10, 1, 0, 1])]);
    assert_eq!(
        shown(&lease.routes),
        ["10.1.0.1/32 scope 253", "0.0.0.0/0 via 10.1.0.1", "172.16.0.0/12 via 10.1.0.7"]
    );
    assert_eq!(lease.gateway, "10.1.0.1".parse().ok());
}

#[test]
fn static_routes_have_the_width_of_their_class() {
    let list = [
        [10, 9, 0, 0, 10, 1, 0, 3],
        [172, 16, 9, 0, 10, 1, 0, 4],
        [192, 168, 7, 1, 10, 1, 0, 5],
        [0, 0, 0, 0, 10, 1, 0, 6],
    ]
    .concat();
    let lease = lease(&[(33, &list)]);
    assert_eq!(
        shown(&lease.routes),
        ["10.0.0.0/8 via 10.1.0.3", "172.16.0.0/16 via 10.1.0.4", "192.168.7.0/24 via 10.1.0.5"]
    );
    // A broken list of option 121 is none.
    let broken =
        super::tests::lease(&[(121, &[33, 1, 2, 3, 4, 5, 6, 7, 8, 9]), (3, &[10, 1, 0, 1])]);
    assert_eq!(shown(&broken.routes), ["0.0.0.0/0 via 10.1.0.1"]);
}

#[test]
fn mtu_and_search_list() {
    let lease = lease(&[(26, &[5, 120]), (119, b"\x01a\x00\x01b\x00"), (15, b"x y")]);
    assert_eq!(lease.mtu, Some(1400));
    assert_eq!(lease.dns.search, ["a", "b"]);
    let odd = super::tests::lease(&[(26, &[0, 67]), (15, b"x y")]);
    assert_eq!(odd.mtu, None);
    assert_eq!((odd.dns.domain.as_str(), odd.dns.search.len()), ("x", 2));
}

#[test]
fn what_is_of_no_use_is_said() {
    let says = |change: &dyn Fn(&mut Message)| {
        let mut ack = ack(&[]);
        change(&mut ack);
        of_ack(&ack, [6; 6], Time::default(), None).expect_err("of no use")
    };
    assert!(says(&|a| a.yours = Ipv4Addr::UNSPECIFIED).contains("address"));
    assert!(says(&|a| drop(a.options.remove(&code::SUBNET_MASK))).contains("option 1"));
    assert!(says(&|a| drop(a.options.insert(1, vec![255, 0, 255, 0]))).contains("255.0.255.0"));
    assert!(says(&|a| drop(a.options.remove(&code::SERVER))).contains("option 54"));
    assert!(says(&|a| drop(a.options.insert(51, vec![0; 4]))).contains("option 51"));
}

#[test]
fn a_renewal_may_leave_out_what_is_known() {
    let before = lease(&[]);
    let mut short = ack(&[]);
    short.options.clear();
    let renewed = of_ack(&short, [6; 6], Time::default(), Some(&before)).expect("renewed");
    assert_eq!(renewed.address, before.address);
    assert_eq!(renewed.server, before.server);
    assert_eq!(renewed.expiry, Time::default().after(Duration::from_secs(3600)));
}
