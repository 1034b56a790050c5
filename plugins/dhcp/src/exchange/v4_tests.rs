//! The DHCPv4 client against a scripted server and clock.

use super::*;
use std::time::Duration;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 5];
const SERVER: [u8; 4] = [10, 1, 0, 1];

fn secs(n: u64) -> Time {
    Time::default().after(Duration::from_secs(n))
}

fn client(lease: Option<Lease>) -> Client {
    let who = Identity {
        mac: MAC,
        client_id: b"\0pod".to_vec(),
        broadcast: true,
        provide: vec![(code::HOST_NAME, b"web".to_vec())],
        request: vec![1, 121, 3],
    };
    let patience = Patience { resend: Duration::from_secs(8), answer: Duration::from_secs(10) };
    Client::new(who, patience, lease)
}

/// The message of a step, and how it goes.
fn sent(step: &Step) -> (Message, &'static str) {
    match step.send.as_ref().expect("a datagram") {
        Datagram::Broadcast { payload, .. } => {
            (Message::decode(payload).expect("a message"), "broadcast")
        }
        Datagram::Unicast { payload, .. } => {
            (Message::decode(payload).expect("a message"), "unicast")
        }
        Datagram::Neighbour { payload, .. } => {
            (Message::decode(payload).expect("a message"), "neighbour")
        }
        Datagram::Servers(_) => panic!("not DHCPv4"),
    }
}

fn answer(kind: Kind, to: &Message, address: [u8; 4]) -> Message {
    let mut answer = Message::new(kind, to.xid, to.mac);
    answer.reply = true;
    if kind != Kind::Nak {
        answer.yours = address.into();
        answer.options.insert(code::SUBNET_MASK, vec![255, 255, 255, 0]);
        answer.options.insert(code::LEASE_TIME, 80_u32.to_be_bytes().into());
    }
    answer.options.insert(code::SERVER, SERVER.into());
    answer
}

/// A client with a lease of 10.1.0.9 for 80 s from second 0.
fn bound(dice: &mut Dice) -> Client {
    let mut client = client(None);
    let (discover, _) = sent(&client.begin(secs(0), dice));
    let offer = answer(Kind::Offer, &discover, [10, 1, 0, 9]);
    let (request, _) = sent(&client.receive(secs(0), (&offer, [6; 6]), dice));
    let ack = answer(Kind::Ack, &request, [10, 1, 0, 9]);
    let step = client.receive(secs(0), (&ack, [6; 6]), dice);
    assert_eq!(step, Step::event(Event::Bound));
    client
}

#[test]
fn an_address_is_asked_for_and_had() {
    let mut dice = Dice::default();
    let mut client = client(None);
    let (discover, how) = sent(&client.begin(secs(0), &mut dice));
    assert_eq!((discover.kind, how, discover.broadcast), (Kind::Discover, "broadcast", true));
    assert_eq!(discover.options[&code::CLIENT_ID], b"\0pod");
    assert_eq!(discover.options[&code::HOST_NAME], b"web");
    assert_eq!(discover.options[&code::WANTED], [1, 121, 3]);
    let offer = answer(Kind::Offer, &discover, [10, 1, 0, 9]);
    let (request, how) = sent(&client.receive(secs(1), (&offer, [6; 6]), &mut dice));
    assert_eq!((request.kind, how, request.secs), (Kind::Request, "broadcast", 1));
    assert_eq!(request.address(code::REQUESTED_ADDRESS), Some([10, 1, 0, 9].into()));
    assert_eq!(request.address(code::SERVER), Some(SERVER.into()));
    assert!(client.is_asking() && client.lease().is_none());
    let ack = answer(Kind::Ack, &request, [10, 1, 0, 9]);
    client.receive(secs(1), (&ack, [6; 6]), &mut dice);
    assert!(!client.is_asking());
    assert_eq!(client.lease().expect("lease").address.to_string(), "10.1.0.9/24");
    assert_eq!(client.wake(), secs(41));
}

#[test]
fn what_is_not_for_it_is_nothing() {
    let mut dice = Dice::default();
    let mut client = client(None);
    let (discover, _) = sent(&client.begin(secs(0), &mut dice));
    let good = answer(Kind::Offer, &discover, [10, 1, 0, 9]);
    for change in [
        &(|m: &mut Message| m.xid ^= 1) as &dyn Fn(&mut Message),
        &|m| m.mac = [9; 6],
        &|m| m.reply = false,
        &|m| m.yours = Ipv4Addr::BROADCAST,
        &|m| m.kind = Kind::Ack,
        &|m| drop(m.options.remove(&code::SERVER)),
    ] {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(client.receive(secs(0), (&bad, [6; 6]), &mut dice), Step::default());
    }
    assert!(client.receive(secs(0), (&good, [6; 6]), &mut dice).send.is_some());
}

#[test]
fn silence_is_answered_by_trying_again() {
    let mut dice = Dice::default();
    let mut client = client(None);
    let (first, _) = sent(&client.begin(secs(0), &mut dice));
    let mut at = client.wake();
    assert_eq!(client.tick(secs(0), &mut dice), Step::default());
    for _ in 0..8 {
        let (again, _) = sent(&client.tick(at, &mut dice));
        assert_eq!((again.kind, again.xid), (Kind::Discover, first.xid));
        assert!(client.wake().since(at) <= Duration::from_millis(8_900));
        at = client.wake();
    }
    assert!(client.plight().contains("DHCPDISCOVER was sent 9 times, and no DHCPOFFER came"));
}

#[test]
fn a_server_that_does_not_confirm_is_left() {
    let mut dice = Dice::default();
    let mut client = client(None);
    let (discover, _) = sent(&client.begin(secs(0), &mut dice));
    let offer = answer(Kind::Offer, &discover, [10, 1, 0, 9]);
    client.receive(secs(0), (&offer, [6; 6]), &mut dice);
    let mut last = discover.kind;
    while client.wake() < secs(10) {
        last = sent(&client.tick(client.wake(), &mut dice)).0.kind;
    }
    assert_eq!(last, Kind::Request);
    let (anew, _) = sent(&client.tick(secs(10), &mut dice));
    assert_eq!(anew.kind, Kind::Discover);
    assert_ne!(anew.xid, discover.xid);
    assert!(client.plight().contains("10.1.0.1 offered 10.1.0.9 and did not confirm it"));
}

#[test]
fn a_refused_request_waits_before_the_next_round() {
    let mut dice = Dice::default();
    let mut client = client(None);
    let (mut message, _) = sent(&client.begin(secs(0), &mut dice));
    let mut now = secs(0);
    let mut waits = Vec::new();
    for _ in 0..5 {
        let offer = answer(Kind::Offer, &message, [10, 1, 0, 9]);
        let (request, _) = sent(&client.receive(now, (&offer, [6; 6]), &mut dice));
        let mut nak = answer(Kind::Nak, &request, [0; 4]);
        nak.options.insert(code::TEXT, b"wrong\nnetwork".to_vec());
        assert_eq!(client.receive(now, (&nak, [6; 6]), &mut dice), Step::default());
        waits.push(client.wake().since(now));
        now = client.wake();
        (message, _) = sent(&client.tick(now, &mut dice));
    }
    assert!(waits[0] < waits[1] && waits[1] < waits[2], "{waits:?}");
    assert!(waits.iter().skip(3).all(|w| (7..9).contains(&w.as_secs())), "{waits:?}");
    assert!(client.plight().contains("refused 10.1.0.9 (DHCPNAK: wrongnetwork)"));
}

#[test]
fn a_lease_is_renewed_by_its_server() {
    let mut dice = Dice::default();
    let mut client = bound(&mut dice);
    let (renewal, how) = sent(&client.tick(secs(40), &mut dice));
    assert_eq!((renewal.kind, how), (Kind::Request, "unicast"));
    assert_eq!(renewal.client, Ipv4Addr::new(10, 1, 0, 9));
    assert_eq!(renewal.address(code::SERVER), None);
    assert_eq!(renewal.address(code::REQUESTED_ADDRESS), None);
    assert!(client.is_asking());
    let ack = answer(Kind::Ack, &renewal, [10, 1, 0, 9]);
    assert_eq!(client.receive(secs(41), (&ack, [7; 6]), &mut dice), Step::event(Event::Bound));
    let lease = client.lease().expect("lease");
    assert_eq!((lease.renewal, lease.expiry), (secs(81), secs(121)));
    assert_eq!(lease.server, Server::V4 { address: SERVER.into(), mac: [7; 6] });
}

#[test]
fn a_silent_server_is_asked_again_then_all_then_the_lease_is_over() {
    let mut dice = Dice::default();
    let mut client = bound(&mut dice);
    let (mut unicast, mut broadcast) = (0, 0);
    while client.wake() < secs(80) {
        let now = client.wake();
        match sent(&client.tick(now, &mut dice)).1 {
            "unicast" => unicast += 1,
            "broadcast" => broadcast += 1,
            other => panic!("{other}"),
        }
        assert_eq!(client.is_rebinding(), now >= secs(70), "{now:?}");
    }
    assert!((3..12).contains(&unicast) && (3..12).contains(&broadcast), "{unicast} {broadcast}");
    let step = client.tick(secs(80), &mut dice);
    assert!(matches!(&step.event, Some(Event::Lost(why)) if why.contains("ran out")), "{step:?}");
    let (discover, _) = sent(&step);
    assert_eq!(discover.kind, Kind::Discover);
    assert_eq!(discover.address(code::REQUESTED_ADDRESS), Some([10, 1, 0, 9].into()));
    assert!(client.lease().is_none());
}

#[test]
fn a_refused_renewal_ends_the_lease_if_its_server_says_so() {
    let mut dice = Dice::default();
    let mut client = bound(&mut dice);
    let (renewal, _) = sent(&client.tick(secs(40), &mut dice));
    let mut nak = answer(Kind::Nak, &renewal, [0; 4]);
    nak.options.insert(code::SERVER, vec![10, 1, 0, 66]);
    assert_eq!(client.receive(secs(41), (&nak, [6; 6]), &mut dice), Step::default());
    nak.options.insert(code::SERVER, SERVER.into());
    let step = client.receive(secs(41), (&nak, [6; 6]), &mut dice);
    assert!(matches!(&step.event, Some(Event::Lost(why)) if why.contains("DHCPNAK")), "{step:?}");
    let (discover, _) = sent(&step);
    assert_eq!(discover.address(code::REQUESTED_ADDRESS), None);
}

#[test]
fn any_server_may_answer_a_rebinding() {
    let mut dice = Dice::default();
    let mut client = bound(&mut dice);
    client.tick(secs(40), &mut dice);
    let (rebind, how) = sent(&client.tick(secs(70), &mut dice));
    assert_eq!(how, "broadcast");
    let mut ack = answer(Kind::Ack, &rebind, [10, 1, 0, 9]);
    ack.options.insert(code::SERVER, vec![10, 1, 0, 2]);
    client.receive(secs(71), (&ack, [8; 6]), &mut dice);
    let lease = client.lease().expect("lease");
    assert_eq!(lease.server, Server::V4 { address: [10, 1, 0, 2].into(), mac: [8; 6] });
}

#[test]
fn a_resumed_lease_goes_on_where_it_was() {
    let mut dice = Dice::default();
    let lease = bound(&mut dice).lease().cloned();
    let mut fresh = client(lease.clone());
    assert_eq!(fresh.begin(secs(20), &mut dice), Step::default());
    assert_eq!(fresh.wake(), secs(40));
    // The daemon was away for long.
    let mut late = client(lease.clone());
    assert_eq!(sent(&late.tick(secs(75), &mut dice)).1, "broadcast");
    let mut over = client(lease);
    assert!(matches!(over.tick(secs(99), &mut dice).event, Some(Event::Lost(_))));
}

#[test]
fn a_release_names_the_address_and_the_server() {
    let mut dice = Dice::default();
    let client = bound(&mut dice);
    let datagram = client.release(&mut dice).expect("a release");
    let (release, how) = sent(&Step::send(datagram));
    assert_eq!((release.kind, how), (Kind::Release, "neighbour"));
    assert_eq!(release.client, Ipv4Addr::new(10, 1, 0, 9));
    assert_eq!(release.address(code::SERVER), Some(SERVER.into()));
    assert_eq!(release.options[&code::CLIENT_ID], b"\0pod");
    assert_eq!(super::tests::client(None).release(&mut dice), None);
}
