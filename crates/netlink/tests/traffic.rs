//! Traffic control is put on links, read and taken away in namespaces of the test's own. Needs root.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use netlink::traffic::{
    Bucket, Class, DIRECT, Discipline, Filter, Handle, INGRESS, Pick, Qdisc, ROOT, Verdict,
};
use netlink::{Change, Kind, Netlink, Peer, Place, Veth};
use netns::Netns;
use std::os::fd::AsFd;

/// A namespace with two ifbs, `a` and `b`.
fn space() -> (Netns, Netlink, [u32; 2]) {
    let space = Netns::anonymous().expect("namespace");
    let netlink = Netlink::open_in(&space).expect("socket");
    let made = ["a", "b"].map(|name| {
        netlink.create_ifb(&Place { name, ..Place::default() }).expect("ifb");
        let link = netlink.expect_link(name).expect("made");
        assert_eq!(link.kind, Kind::Ifb);
        link.index
    });
    (space, netlink, made)
}

#[test]
fn a_token_bucket_is_at_the_root_or_not() {
    let (_space, netlink, [link, _]) = space();
    assert_eq!(netlink.qdisc(link, ROOT).expect("get"), None);
    assert!(!netlink.delete_qdisc(link, ROOT).expect("nothing to delete"));
    for rate in [1_875_000, 5_000_000_000] {
        let wanted =
            Qdisc::root(link, Discipline::TokenBucket(Bucket::new(rate, 187_500, 234_375)));
        netlink.add_qdisc(&wanted).expect("add");
        assert_eq!(netlink.qdisc(link, ROOT).expect("get"), Some(wanted.clone()));
        assert!(netlink.add_qdisc(&wanted).expect_err("twice").is_exists());
        assert!(netlink.qdiscs().expect("list").contains(&wanted));
        assert!(netlink.delete_qdisc(link, ROOT).expect("delete"));
        assert_eq!(netlink.qdisc(link, ROOT).expect("get"), None);
    }
    let unknown = Qdisc::root(link, Discipline::Other("nosuch".to_owned()));
    assert!(netlink.add_qdisc(&unknown).expect_err("unknown").is_not_found());
}

#[test]
fn classes_with_filters_read_back() {
    let (_space, netlink, [link, _]) = space();
    let root = Qdisc::root(link, Discipline::Classes { default: DIRECT });
    netlink.add_qdisc(&root).expect("add");
    assert_eq!(netlink.qdisc(link, ROOT).expect("get"), Some(root.clone()));
    let handle = Handle::new(1, 1);
    let bucket = Bucket::new(5_000_000_000, 60_000_000, 0);
    let class = Class { link, parent: root.handle, handle, bucket };
    netlink.add_class(&class).expect("class");
    assert_eq!(netlink.classes(link).expect("list"), [class]);
    let queue = Qdisc {
        link,
        parent: handle,
        handle: Handle::new(2, 0),
        discipline: Discipline::Fifo(70_000),
    };
    netlink.add_qdisc(&queue).expect("queue");
    assert_eq!(netlink.qdisc(link, handle).expect("get"), Some(queue));
    let filter =
        |priority, pick, verdict| Filter { link, parent: root.handle, priority, pick, verdict };
    let network = |text: &str| text.parse().expect("network");
    let wanted = [
        filter(1, Pick::From(network("10.0.0.0/8")), Verdict::Class(handle)),
        filter(1, Pick::To(network("192.0.2.1/32")), Verdict::Class(Handle::new(1, DIRECT))),
        filter(2, Pick::To(network("2001:db8::/47")), Verdict::Class(handle)),
        filter(3, Pick::All, Verdict::Class(handle)),
    ];
    wanted.iter().for_each(|filter| netlink.add_filter(filter).expect("filter"));
    let found = netlink.filters(link, root.handle).expect("list");
    assert_eq!(found, wanted.map(Some));
}

#[test]
fn a_redirection_to_a_link_that_is_gone_is_told() {
    let (_space, netlink, [link, other]) = space();
    let hook = Qdisc::ingress(link);
    netlink.add_qdisc(&hook).expect("hook");
    assert_eq!(netlink.qdisc(link, INGRESS).expect("get"), Some(hook.clone()));
    let filter =
        |priority, pick, verdict| Filter { link, parent: hook.handle, priority, pick, verdict };
    let pass = filter(1, Pick::From("0.0.0.0/0".parse().expect("network")), Verdict::Pass);
    for wanted in [pass, filter(2, Pick::All, Verdict::Redirect(other))] {
        netlink.add_filter(&wanted).expect("filter");
    }
    let list = || netlink.filters(link, hook.handle).expect("list");
    assert_eq!(list(), [Some(pass), Some(filter(2, Pick::All, Verdict::Redirect(other)))]);
    netlink.delete_link(other).expect("delete");
    assert_eq!(list()[1], Some(filter(2, Pick::All, Verdict::Redirect(0))));
    assert!(netlink.delete_qdisc(link, INGRESS).expect("delete"));
    assert_eq!((netlink.qdisc(link, INGRESS).expect("get"), list()), (None, Vec::new()));
}

#[test]
fn modes_and_queue_of_a_link_are_changed() {
    let (_space, netlink, [link, _]) = space();
    let get = || netlink.link_by_index(link).expect("get").expect("there");
    assert!(!get().all_multicast);
    let change = Change { all_multicast: Some(true), queue_length: Some(77), ..Change::default() };
    netlink.change(link, &change).expect("change");
    assert_eq!((get().all_multicast, get().queue_length), (true, 77));
    netlink
        .change(link, &Change { all_multicast: Some(false), ..Change::default() })
        .expect("change");
    assert!(!get().all_multicast);
}

#[test]
fn the_end_of_the_other_namespace_is_seen() {
    let (_space, netlink, [alone, _]) = space();
    let pod = Netns::anonymous().expect("namespace");
    let peer = Peer { name: "eth0", namespace: Some(pod.as_fd()), mac: None };
    netlink
        .create_veth(&Veth { name: "host", mtu: None, mac: None, master: None, up: false, peer })
        .expect("veth");
    let host = netlink.expect_link("host").expect("made").index;
    assert!(netlink.other_end_lives(host).expect("alive"));
    assert!(netlink.other_end_lives(alone).expect("has no other end"));
    drop(pod);
    // From here on it is dead, although the kernel may not have come to its links yet.
    match netlink.other_end_lives(host) {
        Ok(lives) => assert!(!lives, "a dead namespace is alive"),
        Err(e) => assert!(e.is_not_found(), "{e}"),
    }
}
