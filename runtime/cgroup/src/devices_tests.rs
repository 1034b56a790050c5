use super::*;

fn rule(allow: bool, text: &str) -> Rule {
    let mut parts = text.split([' ', ':']);
    let kind = match parts.next() {
        Some("b") => Some(DeviceKind::Block),
        Some("c") => Some(DeviceKind::Char),
        _ => None,
    };
    let mut number = || parts.next().and_then(|n| n.parse().ok());
    let (major, minor) = (number(), number());
    let access = parts.next().map(str::to_owned);
    Rule::parse(&DeviceRule { allow, kind, major, minor, access }).unwrap()
}

fn lines(writes: &[V1Write]) -> Vec<String> {
    writes.iter().map(|w| format!("{} {}", w.file.trim_start_matches("devices."), w.line)).collect()
}

#[test]
fn rules_are_checked() {
    let wire = |major, access: &str| DeviceRule {
        allow: true,
        kind: Some(DeviceKind::Char),
        major,
        minor: None,
        access: Some(access.into()),
    };
    assert_eq!(Rule::parse(&wire(Some(-1), "rw")).unwrap().on.major, None);
    assert_eq!(Rule::parse(&wire(None, "")).unwrap().access, ALL);
    assert_eq!(Rule::parse(&wire(None, "rwa")).unwrap().access, READ | WRITE);
    for bad in [wire(Some(-2), "r"), wire(Some(1 << 32), "r"), wire(Some(1), "x")] {
        assert_eq!(Rule::parse(&bad).unwrap_err().kind(), Kind::Invalid);
    }
    let pipe = DeviceRule { kind: Some(DeviceKind::Pipe), ..DeviceRule::default() };
    assert!(Rule::parse(&pipe).is_err());
}

#[test]
fn a_new_container_on_v1() {
    let rules = [
        rule(false, "a"),
        rule(true, "c *:* m"),
        rule(true, "c 1:3 rwm"),
        rule(true, "c 5:0 rw"),
        rule(false, "c 5:0 w"),
    ];
    let want = V1::of(&rules).unwrap();
    let root = V1::read("a *:* rwm\n");
    assert_eq!(
        lines(&want.from(&root)),
        ["deny a", "allow c *:* m", "allow c 1:3 rwm", "allow c 5:0 r"]
    );
}

#[test]
fn an_update_writes_only_what_differs() {
    let now = V1::read("c *:* m\nc 1:3 rwm\nb 8:0 r\n");
    let want = V1::of(&[rule(true, "c *:* m"), rule(true, "c 1:3 r"), rule(true, "c 1:5 rw")]);
    let writes = want.unwrap().from(&now);
    assert_eq!(lines(&writes), ["allow c 1:5 rw", "deny c 1:3 wm", "deny b 8:0 r"]);
    assert!(now.from(&now).is_empty());
}

#[test]
fn rules_keep_their_order() {
    let rules = [rule(true, "c 10:229 rwm"), rule(true, "b 8:20 rw"), rule(true, "c 1:3 r")];
    let writes = V1::of(&rules).unwrap().from(&V1::read("a *:* rwm\n"));
    let want = ["deny a", "allow c 10:229 rwm", "allow b 8:20 rw", "allow c 1:3 r"];
    assert_eq!(lines(&writes), want);
}

#[test]
fn all_allowed_but_some() {
    let want = V1::of(&[rule(true, "a"), rule(false, "b 8:0 w")]).unwrap();
    assert_eq!(lines(&want.from(&V1::read("a *:* rwm"))), ["allow a", "deny b 8:0 w"]);
    let any = V1::of(&[rule(true, "a 1:3 r")]).unwrap();
    assert_eq!(any.except.len(), 2, "both kinds");
}

#[test]
fn v1_cannot_punch_holes() {
    let hole = [rule(true, "c *:* rwm"), rule(false, "c 1:3 r")];
    assert_eq!(V1::of(&hole).unwrap_err().kind(), Kind::Unsupported);
    // The wider denial takes the narrower permission with it.
    let wide = [rule(true, "c 1:3 rwm"), rule(false, "c 1:* rw")];
    let writes = V1::of(&wide).unwrap().from(&V1::read(""));
    assert_eq!(lines(&writes), ["allow c 1:3 m"]);
}
