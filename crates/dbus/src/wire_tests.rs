use super::*;

const CALLED: Call<'static> = Call {
    destination: "org.example",
    path: "/org/example",
    interface: "org.example.Face",
    member: "Do",
    signature: "su",
};

fn sample() -> Vec<u8> {
    let mut body = Out::default();
    body.text("hello").unwrap();
    body.u32(7);
    CALLED.message(5, &body).unwrap()
}

#[test]
fn a_message_is_read_as_it_was_written() {
    let bytes = sample();
    let fixed = bytes.first_chunk::<FIXED>().unwrap();
    assert_eq!(total(fixed).unwrap(), bytes.len());
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.kind, message.member.as_str()), (CALL, "Do"));
    assert_eq!(message.texts().unwrap(), ["hello", "7"]);
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let mut out = Out::default();
    out.properties(&[
        Property { name: "A".into(), value: Value::U64(1) },
        Property { name: "B".into(), value: Value::Pairs(vec![("x".into(), "y".into())]) },
    ])
    .unwrap();
    if cfg!(target_endian = "little") {
        let first = b"\x01\0\0\0A\0\x01t\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0";
        assert_eq!(&out.0[8..8 + first.len()], first);
        let second =
            b"\x01\0\0\0B\0\x05a(ss)\0\0\0\0\x0e\0\0\0\0\0\0\0\x01\0\0\0x\0\0\0\x01\0\0\0y\0";
        assert_eq!(&out.0[8 + first.len()..], second);
        assert_eq!(out.0[0] as usize, out.0.len() - 8, "the padding is not counted");
    }
}

#[test]
fn broken_messages_are_errors_and_nothing_else() {
    let good = sample();
    for end in 0..good.len() {
        assert!(Message::parse(&good[..end]).is_err());
    }
    for at in 0..good.len() {
        for value in [0, 1, 4, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            if let Ok(message) = Message::parse(&bad) {
                let _ = message.texts();
            }
        }
    }
    let mut long = [0u8; FIXED];
    (long[0], long[3]) = (ENDIAN, 1);
    long[4..8].fill(0xff);
    long[12..16].fill(0xff);
    assert!(total(&long).is_err());
}

#[test]
fn what_is_too_long_or_ambiguous_is_not_sent() {
    let mut out = Out::default();
    assert!(out.text("a\0b").is_err());
    assert!(out.text(&"x".repeat(MAX_MESSAGE + 1)).is_err());
    let all = vec!["x".repeat(1 << 20); 5];
    let list = Property { name: "L".into(), value: Value::Texts(all) };
    assert!(Out::default().properties(&[list]).is_err());
}
