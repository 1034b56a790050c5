use super::*;

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

fn nft(text: &str) -> Result<Alternatives, Fault> {
    parse_nft(Family::V4, &[text.to_owned()])
}

#[test]
fn the_backend_shows_in_the_first_word() {
    assert_eq!(is_iptables(&[]), None);
    assert_eq!(is_iptables(&words(&[""])), None);
    assert_eq!(is_iptables(&words(&["-d", "a"])), Some(true));
    assert_eq!(is_iptables(&words(&["!", "-s", "a"])), Some(true));
    assert_eq!(is_iptables(&words(&["ip", "saddr", "a"])), Some(false));
}

#[test]
fn iptables_words_that_are_no_match_are_refused() {
    for good in [
        &["-d", "192.0.2.0/24"][..],
        &["!", "-i", "eth0"],
        &["-m", "conntrack", "--ctstate", "NEW"],
        &["--tcp-flags", "SYN,ACK", "SYN"],
        &["-m", "comment", "--comment", "it's \"mine\""],
        &["-s", "192.0.2.1", "-o", "eth1", "-f"],
    ] {
        assert_eq!(validate_iptables(&words(good)), Ok(()), "{good:?}");
    }
    for bad in ["-j", "-jACCEPT", "--jump", "--jum=DROP", "-g", "-t", "-A", "-D", "--table", "a\nb"]
    {
        validate_iptables(&words(&["-d", "192.0.2.1", bad])).expect_err(bad);
    }
}

#[test]
fn words_may_come_apart_or_together() {
    let apart = parse_nft(Family::V4, &words(&["ip", "saddr", "192.0.2.0/24"])).expect("apart");
    assert_eq!(apart, nft("ip saddr 192.0.2.0/24").expect("together"));
    assert_eq!(parse_nft(Family::V4, &[]).expect("none"), vec![vec![]]);
}

#[test]
fn a_prefix_is_masked() {
    let all = nft("ip daddr != 192.0.2.77/25").expect("conditions");
    let load = Expr::Payload { base: PayloadBase::Network, offset: 16, len: 4, dreg: Reg::R1 };
    let mask = Expr::Bitwise {
        sreg: Reg::R1,
        dreg: Reg::R1,
        mask: vec![255, 255, 255, 128],
        xor: vec![0; 4],
    };
    let compare = Expr::Cmp { sreg: Reg::R1, op: CmpOp::Neq, data: vec![192, 0, 2, 0] };
    assert_eq!(all, vec![vec![load, mask, compare]]);
}

#[test]
fn a_set_becomes_alternatives_and_its_negation_a_sequence() {
    let all = nft("iifname { \"eth0\", wl* } tcp sport {1,2-3}").expect("conditions");
    assert_eq!(all.len(), 4);
    let last = all[3].clone();
    assert_eq!(last[1], Expr::Cmp { sreg: Reg::R1, op: CmpOp::Eq, data: b"wl".to_vec() });
    let range = Expr::Range { sreg: Reg::R1, invert: false, from: vec![0, 2], to: vec![0, 3] };
    assert_eq!(last.last(), Some(&range));
    let none = nft("meta mark != { 1, 0x2 }").expect("conditions");
    assert_eq!(none.len(), 1);
    assert_eq!(none[0].len(), 4);
}

#[test]
fn all_addresses_are_no_condition() {
    assert_eq!(nft("ip saddr 0.0.0.0/0").expect("conditions"), vec![vec![]]);
    nft("ip saddr != 0.0.0.0/0").expect_err("matches nothing");
}

#[test]
fn what_is_not_understood_is_named() {
    for bad in [
        "ct state new",
        "ip saddr",
        "ip6 saddr 2001:db8::1",
        "ip saddr 2001:db8::1",
        "ip saddr 192.0.2.9-192.0.2.1",
        "iifname { eth0",
        "iifname { }",
        "iifname a; drop",
        "tcp dport http",
        "accept",
        "meta",
        "tcp flags syn",
        "meta mark 1-2",
        "iifname a-name-that-is-too-long",
        "udp dport 70000",
        "udp dport 1/2",
    ] {
        nft(bad).expect_err(bad);
    }
    let ports: Vec<_> = (1..=65).map(|p| p.to_string()).collect();
    nft(&format!("udp sport {{ {} }}", ports.join(", "))).expect_err("too many rules");
    let six = parse_nft(Family::V6, &words(&["ip6", "saddr", "2001:db8::/32"])).expect("six");
    assert_eq!(six[0].len(), 3);
}
