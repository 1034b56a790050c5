use super::*;

fn entry() -> Entry {
    let original = Tuple {
        from: "192.0.2.7".parse().expect("address"),
        to: "192.0.2.1".parse().expect("address"),
        from_port: 40000,
        to_port: 5353,
    };
    let reply = Tuple {
        from: "10.1.0.9".parse().expect("address"),
        to: original.from,
        from_port: 53,
        to_port: 40000,
    };
    Entry { protocol: 17, original, reply, zone: 0, id: 0x0102_0304 }
}

#[test]
fn a_delete_names_tuple_and_identity() {
    let request = finish(delete(Family::V4, &entry()));
    assert_eq!(request.len(), u32::from_ne_bytes(request[..4].try_into().expect("4")) as usize);
    let message = messages(&request).next().expect("one").expect("valid");
    assert_eq!(message.kind, DELETE);
    let found: Vec<_> = attributes(&message.body[GENERIC..]).collect();
    let (protocol, original, zone) = tuple(found[0].1).expect("tuple");
    assert_eq!((protocol, original, zone), (17, entry().original, 0));
    assert_eq!(found[1], (ID, &[1, 2, 3, 4][..]), "an identity, so that a successor stays");
    assert_eq!(found.len(), 2);
}

#[test]
fn a_delete_in_a_zone_names_it() {
    let request = delete(Family::V4, &Entry { zone: 9, ..entry() });
    let message = messages(&request).next().expect("one").expect("valid");
    assert!(attributes(&message.body[GENERIC..]).any(|a| a == (ZONE, &[0, 9][..])));
}

fn flags(family: Family, filter: &Filter) -> Vec<u32> {
    let request = dump(family, Some(filter));
    let message = messages(&request).next().expect("one").expect("valid");
    let flags = attributes(&message.body[GENERIC..]).find(|a| a.0 == FILTER).expect("filter").1;
    attributes(flags).map(|(_, v)| u32::from_ne_bytes(v.try_into().expect("four bytes"))).collect()
}

#[test]
fn the_filter_flags_name_what_the_tuple_holds() {
    let filter = Filter {
        protocol: 132,
        to: Some("192.0.2.1".parse().expect("address")),
        to_port: Some(80),
        answered_by: Some("10.0.0.2".parse().expect("address")),
    };
    assert_eq!(flags(Family::V4, &filter), [BY_PROTO | BY_DST | BY_DST_PORT, BY_SRC]);
    let filter = Filter {
        to: Some("2001:db8::1".parse().expect("address")),
        answered_by: Some("2001:db8:1::2".parse().expect("address")),
        ..filter
    };
    assert_eq!(flags(Family::V6, &filter), [BY_PROTO | BY_DST_PORT, 0]);
}

#[test]
fn an_unwished_entry_is_not_admitted() {
    let all = Filter::protocol(17);
    assert!(all.admits(&entry()));
    assert!(!Filter::protocol(132).admits(&entry()));
    assert!(!Filter { to_port: Some(53), ..all }.admits(&entry()));
    assert!(!Filter { to: Some(entry().original.from), ..all }.admits(&entry()));
    assert!(!Filter { answered_by: Some(entry().original.to), ..all }.admits(&entry()));
}

#[test]
fn truncated_answers_are_errors_not_panics() {
    let request = delete(Family::V4, &entry());
    for length in 0..request.len() {
        for message in messages(&request[..length]) {
            assert!(message.is_err());
        }
    }
    let mut broken = request.clone();
    broken[..4].copy_from_slice(&3u32.to_ne_bytes());
    assert!(messages(&broken).next().expect("one").is_err());
    for byte in HEADER..request.len() {
        let mut broken = request.clone();
        broken[byte] ^= 0xff;
        for message in messages(&broken) {
            drop(message.map(|m| m.entry()));
        }
    }
}
