//! The DHCPv6 client against a scripted server and clock.

use super::*;

const DUID: &[u8] = &[0, 4, 1, 2, 3];
const SERVER: &[u8] = &[0, 1, 9];

fn secs(n: u64) -> Time {
    Time::default().after(Duration::from_secs(n))
}

fn client(lease: Option<Lease>) -> Client {
    let patience = Patience { resend: Duration::from_secs(8), answer: Duration::from_secs(10) };
    Client::new(Identity { duid: DUID.to_vec() }, patience, lease)
}

fn sent(step: &Step) -> Message {
    match step.send.as_ref().expect("a datagram") {
        Datagram::Servers(bytes) => Message::decode(bytes).expect("a message"),
        other => panic!("{other:?}"),
    }
}

fn ip(text: &str) -> Ipv6Addr {
    text.parse().expect("address")
}

fn answer(kind: Kind, to: &Message, valid: u32) -> Message {
    let mut answer = Message::new(kind, to.xid, &to.client);
    answer.server = SERVER.to_vec();
    answer.name_servers = vec![ip("fd00::53")];
    let mut association = association(Some(ip("fd00::9")));
    association.addresses[0].preferred = valid;
    association.addresses[0].valid = valid;
    answer.association = Some(association);
    answer
}

fn bound(dice: &mut Dice) -> Client {
    let mut client = client(None);
    let solicit = sent(&client.begin(secs(0), dice));
    let mut advertise = answer(Kind::Advertise, &solicit, 100);
    advertise.preference = AT_ONCE;
    let request = sent(&client.receive(secs(0), &advertise, dice));
    let reply = answer(Kind::Reply, &request, 100);
    assert_eq!(client.receive(secs(0), &reply, dice), Step::event(Event::Bound));
    client
}

#[test]
fn an_address_is_asked_for_and_had() {
    let mut dice = Dice::default();
    let mut client = client(None);
    let step = client.begin(secs(0), &mut dice);
    let solicit = sent(&step);
    assert_eq!((solicit.kind, solicit.elapsed), (Kind::Solicit, Some(0)));
    let Some(Datagram::Servers(bytes)) = &step.send else { panic!("{step:?}") };
    assert!(bytes.windows(8).any(|w| w == [0, 6, 0, 4, 0, 23, 0, 24]), "{bytes:?}");
    assert_eq!(solicit.association.as_ref().map(|a| a.addresses.len()), Some(0));
    let advertise = answer(Kind::Advertise, &solicit, 100);
    assert_eq!(client.receive(secs(1), &advertise, &mut dice), Step::default());
    let request = sent(&client.tick(client.wake(), &mut dice));
    assert_eq!((request.kind, request.server.as_slice()), (Kind::Request, SERVER));
    assert_ne!(request.xid, solicit.xid);
    let reply = answer(Kind::Reply, &request, 100);
    client.receive(secs(2), &reply, &mut dice);
    let lease = client.lease().expect("lease");
    assert_eq!(lease.address.to_string(), "fd00::9/128");
    assert_eq!(lease.dns.nameservers, ["fd00::53"]);
    assert_eq!((lease.renewal, lease.rebinding, lease.expiry), (secs(52), secs(82), secs(102)));
}

#[test]
fn the_preferred_server_is_taken() {
    let mut dice = Dice::default();
    let mut client = client(None);
    let solicit = sent(&client.begin(secs(0), &mut dice));
    for (server, preference) in [(1, 5), (2, 9), (3, 9), (4, 0)] {
        let mut advertise = answer(Kind::Advertise, &solicit, 100);
        advertise.server = vec![server];
        advertise.preference = preference;
        assert_eq!(client.receive(secs(0), &advertise, &mut dice), Step::default());
    }
    assert_eq!(sent(&client.tick(client.wake(), &mut dice)).server, [2]);
}

#[test]
fn a_server_without_addresses_is_said() {
    let mut dice = Dice::default();
    let mut client = client(None);
    let solicit = sent(&client.begin(secs(0), &mut dice));
    let mut advertise = answer(Kind::Advertise, &solicit, 0);
    advertise.association.as_mut().expect("association").status =
        Status { number: Status::NO_ADDRESS, text: "all gone".into() };
    assert_eq!(client.receive(secs(0), &advertise, &mut dice), Step::default());
    let plight = client.plight();
    assert!(plight.contains("NoAddrsAvail") && plight.contains("all gone"), "{plight}");
    assert_eq!(sent(&client.tick(client.wake(), &mut dice)).kind, Kind::Solicit);
}

#[test]
fn what_is_not_for_it_is_nothing() {
    let mut dice = Dice::default();
    let mut client = client(None);
    let solicit = sent(&client.begin(secs(0), &mut dice));
    for change in [
        &(|m: &mut Message| m.xid ^= 1) as &dyn Fn(&mut Message),
        &|m| m.client = vec![9],
        &|m| m.server.clear(),
        &|m| m.kind = Kind::Reply,
    ] {
        let mut bad = answer(Kind::Advertise, &solicit, 100);
        change(&mut bad);
        client.receive(secs(0), &bad, &mut dice);
    }
    assert_eq!(sent(&client.tick(client.wake(), &mut dice)).kind, Kind::Solicit);
}

#[test]
fn a_lease_is_renewed_rebound_and_over() {
    let mut dice = Dice::default();
    let mut client = bound(&mut dice);
    let renew = sent(&client.tick(secs(50), &mut dice));
    assert_eq!((renew.kind, renew.server.as_slice()), (Kind::Renew, SERVER));
    let reply = answer(Kind::Reply, &renew, 100);
    assert_eq!(client.receive(secs(51), &reply, &mut dice), Step::event(Event::Bound));
    assert_eq!(client.lease().expect("lease").expiry, secs(151));
    let mut kinds = Vec::new();
    while client.wake() < secs(151) {
        let message = sent(&client.tick(client.wake(), &mut dice));
        kinds.push((message.kind, message.server.is_empty()));
    }
    assert_eq!(kinds.first(), Some(&(Kind::Renew, false)));
    assert_eq!(kinds.last(), Some(&(Kind::Rebind, true)));
    let step = client.tick(secs(151), &mut dice);
    assert!(matches!(step.event, Some(Event::Lost(_))), "{step:?}");
    let solicit = sent(&step);
    assert_eq!(solicit.kind, Kind::Solicit);
    assert_eq!(solicit.association.expect("association").addresses[0].ip, ip("fd00::9"));
}

#[test]
fn a_server_that_forgot_is_asked_for_the_same_address() {
    let mut dice = Dice::default();
    let mut client = bound(&mut dice);
    let renew = sent(&client.tick(secs(50), &mut dice));
    let mut forgot = answer(Kind::Reply, &renew, 100);
    let association = forgot.association.as_mut().expect("association");
    association.addresses.clear();
    association.status.number = Status::NO_BINDING;
    let step = client.receive(secs(51), &forgot, &mut dice);
    let request = sent(&step);
    assert_eq!((request.kind, &step.event), (Kind::Request, &None));
    assert_eq!(request.association.as_ref().expect("one").addresses[0].ip, ip("fd00::9"));
    assert!(client.lease().is_some(), "the address stays until it is decided");
    let reply = answer(Kind::Reply, &request, 100);
    assert_eq!(client.receive(secs(51), &reply, &mut dice), Step::event(Event::Bound));
}

#[test]
fn a_withdrawn_address_is_given_up() {
    let mut dice = Dice::default();
    for forget in [false, true] {
        let mut client = bound(&mut dice);
        let renew = sent(&client.tick(secs(50), &mut dice));
        let mut reply = answer(Kind::Reply, &renew, 0);
        if forget {
            reply.association.as_mut().expect("association").status.number = Status::NO_BINDING;
            let request = sent(&client.receive(secs(51), &reply, &mut dice));
            reply = answer(Kind::Reply, &request, 0);
        }
        let step = client.receive(secs(51), &reply, &mut dice);
        assert!(matches!(step.event, Some(Event::Lost(_))), "{step:?}");
        assert!(client.lease().is_none());
        assert!(client.wake() < Time::NEVER, "it goes on");
    }
}

#[test]
fn a_release_names_the_address_and_the_server() {
    let mut dice = Dice::default();
    let client = bound(&mut dice);
    let release = sent(&Step::send(client.release(&mut dice).expect("a release")));
    assert_eq!((release.kind, release.server.as_slice()), (Kind::Release, SERVER));
    assert_eq!(release.association.expect("one").addresses[0].ip, ip("fd00::9"));
}
