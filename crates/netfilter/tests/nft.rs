//! The nf_tables layer in a network namespace of the test's own, compared with what `nft` prints.
//!
//! Needs root and the `nft` program; reported as skipped without them.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panic, and says what it skipped or measured"
)]

use ipnetwork::IpNetwork;
use netfilter::nft::{
    BaseChain, Batch, Chain, ChainRef, ChainType, DataType, Element, ElementData, Expr, Family,
    Hook, MapData, Nft, Reg, Rule, Set, SetRef, Table, Verdict,
};
use std::process::Command;
use std::time::Instant;

/// Puts the calling thread, which ends with the test, into a namespace of its own.
fn own_namespace() -> Option<Nft> {
    let ready = nix::unistd::geteuid().is_root()
        && Command::new("nft").arg("--version").output().is_ok_and(|o| o.status.success());
    if !ready {
        println!("skipped: needs root and the nft program");
        return None;
    }
    #[allow(clippy::disallowed_methods, reason = "a test thread that ends in its namespace")]
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("unshare");
    Some(Nft::open().expect("open"))
}

fn nft(args: &[&str]) -> String {
    let output = Command::new("nft").args(args).output().expect("run nft");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn net(text: &str) -> IpNetwork {
    text.parse().expect(text)
}

const INET: ChainRef<'static> = ChainRef::new(Family::Inet, "t", "c");
const V4: ChainRef<'static> = ChainRef::new(Family::Ip, "t", "c");
const FRAMES: ChainRef<'static> = ChainRef::new(Family::Bridge, "t", "c");

fn with_chain(chain: ChainRef<'_>, hook: Hook) -> Batch {
    let mut batch = Batch::new();
    let table = Table { family: chain.family, name: chain.table, comment: Some("a table") };
    batch.add_table(&table);
    let kind = if chain.family == Family::Bridge { ChainType::Filter } else { ChainType::Nat };
    let base = BaseChain { kind, hook, priority: 100 };
    batch.add_chain(&Chain { comment: Some("a chain"), ..Chain::base(chain, base) });
    batch.add_chain(&Chain::regular(ChainRef { name: "other", ..chain }));
    batch
}

/// Adds each rule and demands that `nft` shows the statement beside it, and that what the kernel
/// lists decodes to what was written.
fn assert_shown(nf: &mut Nft, chain: ChainRef<'_>, hook: Hook, rules: Vec<(Rule<'_>, &str)>) {
    let mut batch = with_chain(chain, hook);
    for (rule, _) in &rules {
        batch.add_rule_echo(rule);
    }
    let receipt = nf.commit(batch).expect("commit");
    assert_eq!(receipt.handles.len(), rules.len());
    let listing = nft(&["-a", "list", "table", chain.family.as_str(), chain.table]);
    assert!(listing.contains("comment \"a table\""), "{listing}");
    for ((rule, text), handle) in rules.iter().zip(&receipt.handles) {
        let line = format!("\t\t{text} # handle {handle}");
        assert!(listing.lines().any(|l| l == line), "no {line:?} in {listing}");
        let found = nf.rule(chain, *handle).expect("get").expect("the rule is there");
        assert_eq!(found.exprs(), rule.exprs, "{text}");
        assert_eq!((&found.comment, &found.owner), (&rule.comment, &rule.owner));
    }
    let all: Vec<u64> = nf.rules(chain).expect("list").iter().map(|r| r.handle).collect();
    assert_eq!(all, receipt.handles);
}

#[test]
fn rules_are_what_nft_would_have_written() {
    let Some(mut nf) = own_namespace() else { return };
    let rule = || Rule::new(V4);
    let rules = vec![
        (
            rule().dport(6, 80).dnat([10, 0, 0, 2].into(), Some(8080)),
            "tcp dport 80 dnat to 10.0.0.2:8080",
        ),
        (
            rule().dports(17, 90, 100).dnat([10, 0, 0, 2].into(), None),
            "udp dport 90-100 dnat to 10.0.0.2",
        ),
        (rule().daddr_is_local().jump("other"), "fib daddr type local jump other"),
        (rule().mark_set(0x2000), "meta mark set meta mark | 0x00002000"),
        (
            rule().mark_has(0x2000).verdict(Verdict::Accept),
            "meta mark & 0x00002000 == 0x00002000 accept",
        ),
        (rule().iifname("eth0").verdict(Verdict::Accept), "iifname \"eth0\" accept"),
        (rule().oifname("eth0").verdict(Verdict::Return), "oifname \"eth0\" return"),
        (rule().saddr(net("10.1.0.0/17")).verdict(Verdict::Drop), "ip saddr 10.1.0.0/17 drop"),
        (rule().l4proto(132).expr(Expr::Counter), "meta l4proto sctp counter packets 0 bytes 0"),
        (
            rule().daddr(net("10.1.2.3")).verdict(Verdict::Accept).comment("seen").owner([7; 32]),
            "ip daddr 10.1.2.3 accept comment \"seen\"",
        ),
    ];
    assert_shown(&mut nf, V4, Hook::Prerouting, rules);
    let json = nft(&["-j", "list", "table", "ip", "t"]);
    assert!(json.contains(r#""comment": "seen""#), "as other programs read it: {json}");
    let target = nf.rules(V4).expect("list")[0].dnat_target();
    assert_eq!(target, Some(([10, 0, 0, 2].into(), Some(8080))));

    let rule = || Rule::new(INET);
    let rules = vec![
        (
            rule().saddr(net("10.1.0.5")).not_daddr(net("10.1.0.0/16")).masquerade(),
            "ip saddr 10.1.0.5 ip daddr != 10.1.0.0/16 masquerade",
        ),
        (
            rule().saddr(net("fd00::5")).not_daddr(net("fd00::/63")).masquerade(),
            "ip6 saddr fd00::5 ip6 daddr != fd00::/63 masquerade",
        ),
        (rule().daddr(net("224.0.0.0/4")).verdict(Verdict::Return), "ip daddr 224.0.0.0/4 return"),
        (rule().goto("other"), "goto other"),
    ];
    assert_shown(&mut nf, INET, Hook::Postrouting, rules);

    let rule = || Rule::new(FRAMES);
    let mac = [2, 0, 0, 0, 0, 1];
    let rules = vec![
        (rule().ether_saddr(mac).verdict(Verdict::Return), "ether saddr 02:00:00:00:00:01 return"),
        (
            rule().iifname("veth1").jump("other").comment("c"),
            "iifname \"veth1\" jump other comment \"c\"",
        ),
    ];
    assert_shown(&mut nf, FRAMES, Hook::Prerouting, rules);
}

#[test]
fn maps_hold_values_verdicts_comments_and_owners() {
    let Some(mut nf) = own_namespace() else { return };
    let targets = SetRef { family: Family::Ip, table: "t", name: "targets" };
    let chains = SetRef { name: "chains", ..targets };
    let mut batch = with_chain(V4, Hook::Prerouting);
    let value = MapData::Value(DataType::IPV4.then(DataType::SERVICE));
    let key = DataType::PROTOCOL.then(DataType::SERVICE);
    batch.add_set(&Set { at: targets, key, data: Some(value) });
    batch.add_set(&Set { at: chains, key: DataType::IPV4, data: Some(MapData::Verdict) });
    let port = |n: u16| {
        let mut key = vec![6, 0, 0, 0];
        key.extend_from_slice(&n.to_be_bytes());
        key.resize(8, 0);
        key
    };
    let to = |n: u16| Element {
        key: port(n),
        data: Some(ElementData::Value(vec![10, 0, 0, 2, 0x1f, 0x90, 0, 0])),
        comment: Some(format!("pod {n}")),
        owner: Some(vec![1, 2, 3]),
    };
    let many: Vec<Element> = (1..=1000).map(to).collect();
    batch.create_elements(targets, &many);
    let jump = Element {
        data: Some(ElementData::Verdict(Verdict::Jump("other".to_owned()))),
        ..Element::key([10, 0, 0, 1])
    };
    batch.add_elements(chains, std::slice::from_ref(&jump));
    let lookup =
        Expr::Lookup { set: "chains".to_owned(), sreg: Reg::R1, dreg: Some(Reg(0)), invert: false };
    let load = Rule::new(V4).daddr(net("10.0.0.1")).exprs[0].clone();
    batch.add_rule(&Rule::new(V4).expr(load).expr(lookup));
    nf.commit(batch).expect("commit");

    let listing = nft(&["list", "table", "ip", "t"]);
    assert!(listing.contains("type inet_proto . inet_service : ipv4_addr . inet_service"));
    assert!(listing.contains("tcp . 80 comment \"pod 80\" : 10.0.0.2 . 8080"), "{listing}");
    assert!(listing.contains("10.0.0.1 : jump other"), "{listing}");
    assert!(listing.contains("ip daddr vmap @chains"), "{listing}");
    assert_eq!(nf.elements(targets).expect("list").len(), 1000);
    assert_eq!(nf.element(targets, &port(80)).expect("get"), Some(to(80)));
    assert_eq!(nf.element(targets, &port(2000)).expect("get"), None);
    assert_eq!(nf.elements(chains).expect("list"), [jump]);

    let mut taken = Batch::new();
    taken.create_elements(targets, &[to(80)]);
    assert!(nf.commit(taken).expect_err("taken").is_exists());
    let mut gone = Batch::new();
    gone.delete_elements(
        targets,
        &many.iter().map(|e| Element::key(e.key.clone())).collect::<Vec<_>>(),
    );
    nf.commit(gone).expect("delete");
    assert_eq!(nf.elements(targets).expect("list"), []);
}

#[test]
fn a_batch_happens_all_or_not_at_all() {
    let Some(mut nf) = own_namespace() else { return };
    assert!(nf.commit(Batch::new()).expect("empty").handles.is_empty());
    let mut batch = with_chain(V4, Hook::Prerouting);
    batch.add_rule(&Rule::new(V4).jump("nowhere"));
    batch.add_rule(&Rule::new(V4).jump("other"));
    let error = nf.commit(batch).expect_err("no such chain");
    assert!(error.is_not_found(), "{error}");
    assert_eq!(error.op, "add rule ip t c");
    assert!(!nf.has_table(Family::Ip, "t").expect("get"));
    assert_eq!(nf.chain(V4).expect("get"), None);
    assert_eq!(nf.rules(V4).expect("list"), []);
    assert_eq!(nf.rule(V4, 1).expect("get"), None);
    assert_eq!(nf.chains(Family::Ip, "t").expect("list"), []);
    let set = SetRef { family: Family::Ip, table: "t", name: "s" };
    assert_eq!(nf.elements(set).expect("list"), []);
    assert_eq!(nf.element(set, &[1]).expect("get"), None);

    nf.commit(with_chain(V4, Hook::Prerouting)).expect("commit");
    nf.commit(with_chain(V4, Hook::Prerouting)).expect("adding again changes nothing");
    assert_eq!(nf.table_comment(Family::Ip, "t").expect("get").as_deref(), Some("a table"));
    let chain = nf.chain(V4).expect("get").expect("chain");
    assert!(chain.is_base);
    assert_eq!(nf.chains(Family::Ip, "t").expect("list").len(), 2);

    let mut jump = Batch::new();
    jump.add_rule(&Rule::new(V4).jump("other"));
    nf.commit(jump).expect("commit");
    let mut delete = Batch::new();
    delete.delete_chain(ChainRef { name: "other", ..V4 });
    assert!(nf.commit(delete).expect_err("in use").is_busy());
}

#[test]
fn faults_of_the_caller_are_named_before_the_kernel_is_asked() {
    let Some(mut nf) = own_namespace() else { return };
    let mut batch = with_chain(V4, Hook::Prerouting);
    batch.add_rule(&Rule::new(V4).comment("x".repeat(129)));
    let error = nf.commit(batch).expect_err("comment");
    assert!(error.to_string().contains("129 bytes"), "{error}");
    let mut batch = Batch::new();
    batch.add_rule(&Rule::new(V4).comment("x".repeat(128)).owner([0; 200]));
    assert!(nf.commit(batch).is_err());
    assert!(!nf.has_table(Family::Ip, "t").expect("get"));
}

#[test]
fn a_batch_for_an_old_generation_is_refused() {
    let Some(mut nf) = own_namespace() else { return };
    nf.commit(with_chain(V4, Hook::Prerouting)).expect("commit");
    let seen = nf.generation().expect("generation");
    let change = |id: u32| {
        let mut batch = Batch::at_generation(id);
        batch.add_rule(&Rule::new(V4).verdict(Verdict::Accept));
        batch
    };
    nf.commit(change(seen)).expect("nothing happened since");
    let error = nf.commit(change(seen)).expect_err("stale");
    assert!(error.is_stale(), "{error}");
    assert_eq!(nf.rules(V4).expect("list").len(), 1);
}

#[test]
fn large_batches_fit_and_their_errors_are_found() {
    let Some(mut nf) = own_namespace() else { return };
    let mut batch = with_chain(V4, Hook::Prerouting);
    let rule =
        Rule::new(V4).dport(6, 80).dnat([10, 0, 0, 2].into(), Some(8080)).comment("c".repeat(100));
    for _ in 0..2000 {
        batch.add_rule_echo(&rule);
    }
    let handles = nf.commit(batch).expect("add").handles;
    assert_eq!(handles.len(), 2000);
    let start = Instant::now();
    assert_eq!(nf.rules(V4).expect("list").len(), 2000);
    println!("list 2000 rules: {:?}", start.elapsed());
    let delete = |nf: &mut Nft| {
        let mut batch = Batch::new();
        handles.iter().for_each(|h| batch.delete_rule(V4, *h));
        nf.commit(batch)
    };
    delete(&mut nf).expect("delete");
    let error = delete(&mut nf).expect_err("gone");
    assert!(error.is_not_found(), "{error}");
    assert_eq!(error.op, format!("delete rule ip t c handle {}", handles[0]));
    assert_eq!(nf.rules(V4).expect("list"), []);
}
