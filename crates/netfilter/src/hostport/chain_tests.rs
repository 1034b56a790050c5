use super::super::samples;
use super::*;

/// Compares with a file of `tests/golden`; with `BLESS` set, writes it.
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).expect("write");
    }
    assert_eq!(std::fs::read_to_string(&path).expect(&path), text, "{path}");
}

fn text(forward: &Forward) -> String {
    let base = base(forward);
    let own = container(forward, &container_chain(&forward.owner));
    let mut lines: Vec<String> = base.chains.iter().map(|c| format!("-N {c}")).collect();
    lines.extend(base.prepended.iter().map(|r| format!("-I {} 1 {r}", r.chain)));
    for rule in base.appended.iter().chain(&own.entries).chain(&own.rules) {
        lines.push(format!("-A {} {rule}", rule.chain));
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_rules_are_as_on_record() {
    let mut v4 = samples::forward("10.0.0.2/24");
    v4.conditions = ["!", "-d", "192.0.2.9", "-m", "comment", "--comment", "a \"b\""]
        .map(str::to_owned)
        .to_vec();
    golden("hostport-v4.iptables", &text(&v4));
    let mut v6 = samples::forward("2001:db8::2/64");
    golden("hostport-v6.iptables", &text(&v6));
    v6.masquerade = Masquerade::All;
    v6.mark = Mark::Chain("KUBE-MARK-MASQ".into());
    golden("hostport-v6-masq-all.iptables", &text(&v6));
    let off = Forward { masquerade: Masquerade::Off, ..samples::forward("10.0.0.2/24") };
    golden("hostport-v4-no-snat.iptables", &text(&off));
}

#[test]
fn chains_are_named_as_by_the_reference() {
    let owner = samples::owner();
    assert_eq!(container_chain(&owner), "CNI-DN-022110f36292712c8bb50");
    assert_eq!(container_chain(&owner).len(), crate::names::CHAIN_LEN);
    assert!(old_snat_chain(&owner).starts_with("CNI-SN-022110f36292712"));
    let other = Owner { ifname: "eth1".into(), ..owner.clone() };
    assert_eq!(container_chain(&other), container_chain(&owner));
    assert_ne!(interface_chain(&other), interface_chain(&owner));
}

#[test]
fn a_comment_is_cut_to_what_iptables_takes() {
    let owner = Owner { container_id: "c".repeat(200), ..samples::owner() };
    let owner = Owner { network: "n".repeat(200), ..owner };
    assert_eq!(comment(&owner).len(), COMMENT);
    assert_eq!(comment(&samples::owner()), "dnat name: \"test\" id: \"icee6giejonei6so\"");
}

#[test]
fn many_ports_are_spread_over_several_entries() {
    let mut forward = samples::forward("10.0.0.2/24");
    forward.mappings = (1..=31).map(|p| samples::mapping(&format!("tcp {p} 80"))).collect();
    let entries = container(&forward, "X").entries;
    assert_eq!(entries.len(), 3);
    assert!(entries[2].to_string().contains("--destination-ports 31 "));
}

#[test]
fn no_word_can_end_its_line_or_its_quotes() {
    let rule = Rule::new("X", &["--comment", "a\" -j \\", "", "plain/1"]);
    assert_eq!(rule.to_string(), r#"--comment "a\" -j \\" "" plain/1"#);
}
