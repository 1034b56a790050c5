use super::*;

fn limit(rate: u64, burst: Option<u64>) -> Limit {
    Limit { rate, burst, written: burst.unwrap_or(0) }
}

fn network(text: &str) -> IpNetwork {
    text.parse().expect("network")
}

#[test]
fn names_are_those_of_the_reference() {
    // The first digits of: printf %s netcid | sha512sum
    assert_eq!(container_ifb("net", "cid"), "bwpf74d2f3ccf98");
    assert!(is_ifb_name(&container_ifb("net", "cid")));
    let second = interface_ifb("net", "cid", "eth1");
    assert!(is_ifb_name(&second) && second.len() == 15);
    assert_ne!(second, interface_ifb("net", "cid", "eth2"));
    for other in ["bwp", "ifb0", "bwpf74d2f3ccf9", "bwpf74d2f3ccf9g"] {
        assert!(!is_ifb_name(other));
    }
}

#[test]
fn a_burst_that_was_asked_for_has_the_numbers_of_the_reference() {
    // 15 Mbit/s with 1.5 Mbit: 187500 bytes take 100 ms.
    let asked = limit(1_875_000, Some(187_500));
    let made = bucket(asked, 1500);
    assert_eq!(made, bucket_of_reference(asked));
    assert_eq!(made, Bucket::new(1_875_000, 187_500, 46_875 + 187_500));
}

#[test]
fn a_burst_of_the_plugins_own_suits_the_rate() {
    // 100 Mbit/s: 10 ms, and 25 ms that may wait.
    let fast = bucket(limit(12_500_000, None), 1500);
    assert_eq!((fast.burst(), fast.limit), (125_000, 125_000 + 312_500));
    // 15 Mbit/s: a joined packet, and 100 ms that may wait.
    let joined = bucket(limit(1_875_000, None), 1500);
    assert_eq!(joined, Bucket::new(1_875_000, 65_536 + 1518, 65_536 + 1518 + 187_500));
    // 1 Mbit/s: 40 ms, and 20 packets that may wait.
    let slow = bucket(limit(125_000, None), 1500);
    assert_eq!((slow.burst(), slow.limit), (5000, 20 * 1518));
    // 100 kbit/s: two packets.
    assert_eq!(bucket(limit(12_500, None), 1500).burst(), 3036);
    // Whatever was asked for, a packet fits in, and a millisecond.
    assert_eq!(bucket(limit(125_000, Some(100)), 9000).burst(), 9018);
    assert_eq!(bucket(limit(1_250_000_000, Some(100)), 1500).burst(), 1_250_000);
    // More than 32 bits of bytes may not wait.
    assert_eq!(bucket(limit(1 << 40, None), 1500).limit, u32::MAX);
}

#[test]
fn the_numbers_of_the_reference_wrap_around() {
    // What containerd asks for beside 15 Mbit/s: 536870911 bytes.
    let absurd = Limit { rate: 1_875_000, burst: None, written: 536_870_911 };
    let found = bucket_of_reference(absurd);
    let micros = 536_870_911_u64 * 1_000_000 / 1_875_000;
    let wrapped = u32::try_from(micros * 1000 / 64 - (1 << 32)).expect("32 bits");
    assert_eq!(found, Bucket::from_ticks(1_875_000, wrapped, 46_875 + 536_870_911));
}

#[test]
fn a_link_on_the_node_sends_what_the_pod_receives() {
    let config = Config {
        ingress: Some(limit(1000, None)),
        egress: None,
        scope: Scope::AllBut(vec![network("10.0.0.0/8"), network("fd00::/8")]),
    };
    let node = Plan::new(&config, Seat::Node, 1500);
    let pod = Plan::new(&config, Seat::Pod, 1500);
    assert!(node.receives.is_none() && pod.sends.is_none());
    let (sends, receives) = (node.sends.expect("side"), pod.receives.expect("side"));
    assert_eq!(sends, receives);
    let filters = sends.sending_filters(3);
    assert_eq!(filters[0].pick, Pick::From(network("10.0.0.0/8")));
    assert_eq!((filters[0].priority, filters[1].priority), (1, 2));
    assert!(filters.iter().all(|f| f.verdict == Verdict::Class(Handle::new(1, 0))));
    assert_eq!(sends.root(3).discipline, Discipline::Classes { default: 1 });
    let filters = receives.receiving_filters(3, 9);
    assert_eq!(filters[0].verdict, Verdict::Pass);
    assert_eq!((filters[2].pick, filters[2].priority), (Pick::All, 3));
    assert_eq!(filters[2].verdict, Verdict::Redirect(9));
}

#[test]
fn only_what_is_listed_is_limited() {
    let config = Config {
        ingress: Some(limit(1000, None)),
        egress: Some(limit(2000, None)),
        scope: Scope::Only(vec![network("192.0.2.0/24")]),
    };
    let plan = Plan::new(&config, Seat::Node, 1500);
    let (sends, receives) = (plan.sends.expect("side"), plan.receives.expect("side"));
    assert_eq!(sends.root(3).discipline, Discipline::Classes { default: DIRECT });
    let (class, queue) = sends.class(3).expect("a class");
    assert_eq!((class.handle, class.bucket.rate), (Handle::new(1, 1), 1000));
    assert_eq!(queue.discipline, Discipline::Fifo(CLASS_QUEUE));
    assert_eq!(sends.sending_filters(3)[0].verdict, Verdict::Class(class.handle));
    let filters = receives.receiving_filters(3, 9);
    assert_eq!(filters.len(), 1);
    assert_eq!(filters[0].pick, Pick::To(network("192.0.2.0/24")));
    assert_eq!(filters[0].verdict, Verdict::Redirect(9));
}
