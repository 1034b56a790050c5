//! Masquerade rules in network and mount namespaces of the test's own.
//!
//! Needs root, `nft` and iptables of both kinds; reported as skipped without them.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panic, and says what it skipped or measured"
)]

use cni_types::{Attachment, Code};
use ipnetwork::IpNetwork;
use netfilter::masquerade::{
    self, Backend, Masquerade, Owner, Search, Teardown, check, gc, probe, setup, teardown,
};
use netfilter::nft::Nft;
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const OVER_NFT: &str = "/usr/sbin/xtables-nft-multi";
const LEGACY: &str = "/usr/sbin/xtables-legacy-multi";

/// Puts the calling thread, which ends with the test, into namespaces of its own with an empty
/// `/run`, and makes `iptables` the program at `kind`.
fn own_node(kind: &str) -> bool {
    let ready = nix::unistd::geteuid().is_root()
        && [OVER_NFT, LEGACY, "/usr/sbin/nft"].iter().all(|file| Path::new(file).exists());
    if !ready {
        println!("skipped: needs root, nft and both kinds of iptables");
        return false;
    }
    #[allow(clippy::disallowed_methods, reason = "a test thread that ends in its namespaces")]
    nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("unshare");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private");
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("tmpfs");
    if kind == LEGACY {
        mount(Some(LEGACY), OVER_NFT, none, MsFlags::MS_BIND, none).expect("bind");
    }
    true
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// All rules of pods, of both backends.
fn rules() -> Vec<String> {
    let nft = run("nft", &["list", "ruleset"]);
    let nft = nft.lines().filter(|l| l.contains("masquerade comment \""));
    let saved = run("iptables-save", &["-t", "nat"]) + &run("ip6tables-save", &["-t", "nat"]);
    let saved = saved.lines().filter(|l| l.contains("CNI-"));
    // `iptables-save` over nf_tables shows the same rules as `nft` does; its own count.
    let nft = nft.filter(|l| l.contains(", net: "));
    nft.chain(saved).map(|l| l.trim().to_owned()).collect()
}

fn records() -> usize {
    std::fs::read_dir("/run/podloom/masquerade").map_or(0, Iterator::count)
}

fn nets(list: &[&str]) -> Vec<IpNetwork> {
    list.iter().map(|text| text.parse().expect("network")).collect()
}

fn owner(container_id: &str) -> Owner<'_> {
    Owner { network: "net", container_id, ifname: "eth0" }
}

fn add(backend: Backend, owner: Owner<'_>, addresses: &[&str]) {
    let addresses = nets(addresses);
    let wish = Masquerade { backend: Some(backend), owner, addresses: &addresses };
    setup(&wish).expect("setup");
    check(&wish).expect("check");
}

fn attachment(owner: &Owner<'_>) -> Attachment {
    let Owner { container_id, ifname, .. } = owner;
    Attachment { container_id: (*container_id).to_owned(), ifname: (*ifname).to_owned() }
}

const BOTH: [&str; 2] = ["10.1.0.5/16", "fd00::5/64"];

/// What holds for every backend.
fn life(backend: Backend) {
    probe(Some(backend), true).expect("probe");
    assert_eq!(rules(), [""; 0]);
    let (a, b) = (owner("a"), owner("b"));
    let elsewhere = Owner { network: "elsewhere", ..a };
    add(backend, b, &["10.1.0.6/16"]);
    add(backend, elsewhere, &["10.2.0.5/16"]);
    let before = rules();
    add(backend, a, &BOTH);
    let with_a = rules();
    assert!(with_a.len() > before.len());
    add(backend, a, &BOTH);
    assert_eq!(rules().len(), with_a.len(), "nothing is doubled");

    teardown(&a, Search::Recorded).expect("teardown");
    assert_eq!(rules(), before);
    assert_eq!(records(), 2);
    teardown(&a, Search::Everything).expect("nothing is there");
    let (net, addresses) = (Some(backend), nets(&BOTH));
    let gone = check(&Masquerade { backend: net, owner: a, addresses: &addresses });
    assert_eq!(gone.expect_err("drift").code, Code::Drift);

    add(backend, a, &BOTH);
    std::fs::remove_dir_all("/run/podloom").expect("lose the records");
    check(&Masquerade { backend: net, owner: a, addresses: &addresses }).expect("by listing");
    teardown(&a, Search::Recorded).expect("no record");
    assert_eq!(rules().len(), with_a.len(), "looked no further than the records");
    teardown(&a, Search::Everything).expect("by listing");
    assert_eq!(rules(), before);

    add(backend, a, &BOTH);
    gc("net", &[attachment(&b)]).expect("gc");
    assert_eq!(rules(), before, "b is valid, elsewhere is another network");
    gc("net", &[]).expect("gc");
    gc("elsewhere", &[]).expect("gc");
    assert_eq!(rules(), [""; 0]);
    assert_eq!(records(), 0);
}

#[test]
fn nftables() {
    if own_node(OVER_NFT) {
        life(Backend::Nftables);
    }
}

#[test]
fn iptables_over_nftables() {
    if own_node(OVER_NFT) {
        life(Backend::Iptables);
    }
}

#[test]
fn iptables_legacy() {
    if own_node(LEGACY) {
        life(Backend::Iptables);
    }
}

#[test]
fn rules_look_like_those_of_the_reference() {
    if !own_node(OVER_NFT) {
        return;
    }
    add(Backend::Nftables, owner("cid"), &BOTH);
    let listing = run("nft", &["list", "table", "inet", "cni_plugins_masquerade"]);
    let hash = "a4861f4ae9f7d238-f67e6d6b66294011";
    let comment = format!("comment \"{hash}, net: net, if: eth0, id: cid\"");
    for line in [
        format!("ip saddr 10.1.0.5 ip daddr != 10.1.0.0/16 masquerade {comment}"),
        format!("ip6 saddr fd00::5 ip6 daddr != fd00::/64 masquerade {comment}"),
        "type nat hook postrouting priority srcnat; policy accept;".to_owned(),
        "ip daddr 224.0.0.0/4 return".to_owned(),
        "ip6 daddr ff00::/8 return".to_owned(),
        "goto masq_checks".to_owned(),
    ] {
        assert_eq!(listing.lines().filter(|l| l.trim() == line).count(), 1, "{line}: {listing}");
    }
    add(Backend::Iptables, owner("cid"), &["10.1.0.5/16"]);
    let comment = r#"-m comment --comment "name: \"net\" id: \"cid\"""#;
    let chain = "CNI-f74d2f3ccf98e525d41d0c61";
    assert_eq!(
        rules(),
        [
            format!(":{chain} - [0:0]"),
            format!("-A POSTROUTING -s 10.1.0.5/32 {comment} -j {chain}"),
            format!("-A {chain} -d 10.1.0.0/16 {comment} -j ACCEPT"),
            format!("-A {chain} ! -d 224.0.0.0/4 {comment} -j MASQUERADE"),
        ],
        "a change of backend leaves nothing of the other"
    );
}

#[test]
fn a_process_killed_anywhere_leaves_what_the_next_one_clears() {
    if !own_node(OVER_NFT) {
        return;
    }
    let a = owner("a");
    let record = || {
        let dirs = std::fs::read_dir("/run/podloom/masquerade").expect("records");
        dirs.map(|d| d.expect("entry").path().join("eth0")).next().expect("a record")
    };
    for backend in [Backend::Nftables, Backend::Iptables] {
        for cut in [
            "",
            "net\na\neth0\n",
            "net\na\neth0\nnftables\n",
            "net\na\neth0\niptables\n10.9.9.9/8\n",
        ] {
            for step in ["add", "del", "gc"] {
                add(backend, a, &BOTH);
                let count = rules().len();
                std::fs::write(record(), cut).expect("cut the record");
                match step {
                    "add" => {
                        add(backend, a, &BOTH);
                        assert_eq!(rules().len(), count, "{cut:?}");
                        teardown(&a, Search::Recorded).expect("teardown");
                    }
                    "del" => teardown(&a, Search::Recorded).expect("teardown"),
                    _ => gc("net", &[]).expect("gc"),
                }
                assert_eq!(rules(), [""; 0], "{backend:?} {step} {cut:?}");
                assert_eq!(records(), 0, "{backend:?} {step} {cut:?}");
            }
        }
    }
}

#[test]
fn handles_that_now_name_another_pods_rule_are_not_trusted() {
    if !own_node(OVER_NFT) {
        return;
    }
    add(Backend::Nftables, owner("a"), &["10.1.0.5/16"]);
    run("nft", &["flush", "ruleset"]);
    // The new table counts its handles from the start again.
    add(Backend::Nftables, owner("b"), &["10.1.0.6/16"]);
    let before = rules();
    teardown(&owner("a"), Search::Recorded).expect("teardown");
    assert_eq!(rules(), before);
}

#[test]
fn two_interfaces_of_a_container_in_one_network_do_not_disturb_each_other() {
    for kind in [OVER_NFT, LEGACY] {
        let test = move || {
            if !own_node(kind) {
                return;
            }
            let first = owner("a");
            let second = Owner { ifname: "eth1", ..first };
            for backend in [Backend::Nftables, Backend::Iptables] {
                for (keep, drop) in [(first, second), (second, first)] {
                    add(backend, first, &["10.1.0.5/16"]);
                    add(backend, second, &["10.1.0.7/16", "fd00::7/64"]);
                    teardown(&drop, Search::Everything).expect("teardown");
                    let address = if keep == first { "10.1.0.5/16" } else { "10.1.0.7/16" };
                    let addresses = nets(&[address]);
                    check(&Masquerade {
                        backend: Some(backend),
                        owner: keep,
                        addresses: &addresses,
                    })
                    .expect("the other one's rules are there");
                    teardown(&keep, Search::Everything).expect("teardown");
                    assert_eq!(rules(), [""; 0]);
                }
            }
        };
        std::thread::spawn(test).join().expect("test");
    }
}

#[test]
fn without_a_backend_iptables_is_used_where_it_works() {
    if !own_node(OVER_NFT) {
        return;
    }
    let addresses = nets(&["10.1.0.5/16"]);
    let wish = Masquerade { backend: None, owner: owner("a"), addresses: &addresses };
    probe(None, false).expect("probe");
    setup(&wish).expect("setup");
    assert!(rules().iter().all(|l| l.contains("CNI-")), "{:?}", rules());
    check(&wish).expect("check");
    teardown(&wish.owner, Search::Recorded).expect("teardown");
    let none = None::<&str>;
    mount(Some("/bin/false"), OVER_NFT, none, MsFlags::MS_BIND, none).expect("break iptables");
    probe(None, false).expect("nftables serves");
    setup(&wish).expect("setup");
    check(&wish).expect("check");
    let error = probe(Some(Backend::Iptables), false).expect_err("broken");
    assert_eq!(error.code, Code::NotAvailable);
    assert!(error.msg.contains("iptables-restore"), "{error}");
    let forced = Masquerade { backend: Some(Backend::Iptables), owner: owner("b"), ..wish };
    assert_eq!(setup(&forced).expect_err("broken").code, Code::Program);
    assert_eq!(records(), 1, "the record of a failed setup is gone");
    teardown(&wish.owner, Search::Recorded).expect("teardown");
    let listing = run("nft", &["list", "ruleset"]);
    assert!(!listing.contains(", net: "), "{listing}");
}

/// Waits until the kernel has freed what was deleted, which changes wait for too.
fn settle() {
    let mut nft = Nft::open().expect("open");
    nft.generation().expect("a bound socket");
}

/// The best of many: what the work costs when nothing else runs in between.
fn best(times: Vec<Duration>) -> Duration {
    times.into_iter().min().unwrap_or_default()
}

/// Best times of ADD, of DEL up to and behind the deletion of links, and of a second DEL.
fn time(backend: Backend) -> [Duration; 4] {
    let (mut adds, mut begins, mut ends, mut again) = (vec![], vec![], vec![], vec![]);
    let addresses = nets(&BOTH);
    for _ in 0..15 {
        let wish = Masquerade { backend: Some(backend), owner: owner("x"), addresses: &addresses };
        let mut clock = Instant::now();
        let mut lap = |list: &mut Vec<Duration>| {
            list.push(clock.elapsed());
            clock = Instant::now();
        };
        setup(&wish).expect("setup");
        lap(&mut adds);
        let teardown = Teardown::begin(&wish.owner, Search::Everything).expect("begin");
        lap(&mut begins);
        teardown.finish().expect("finish");
        lap(&mut ends);
        settle();
        lap(&mut Vec::new());
        masquerade::teardown(&wish.owner, Search::Everything).expect("teardown");
        lap(&mut again);
        settle();
    }
    [adds, begins, ends, again].map(best)
}

#[test]
fn the_cost_does_not_grow_with_the_number_of_pods() {
    if !own_node(OVER_NFT) {
        return;
    }
    // iptables is a process for each pod; and over nf_tables it reads the whole table each time.
    for (backend, pods) in [(Backend::Nftables, 500), (Backend::Iptables, 50)] {
        // The first rules of all bring the layout with them.
        add(backend, owner("first"), &["10.1.9.9/16"]);
        let alone = time(backend);
        for i in 0..pods {
            let id = format!("pod{i}");
            let address = format!("10.1.{}.{}/16", i / 250, i % 250 + 1);
            let wish = nets(&[&address]);
            setup(&Masquerade { backend: Some(backend), owner: owner(&id), addresses: &wish })
                .expect("setup");
        }
        let crowded = time(backend);
        println!(
            "{backend:?} ADD, DEL begun, ended, DEL again: alone {alone:?}, beside {pods} {crowded:?}"
        );
        if backend == Backend::Nftables {
            // A commit rebuilds the chain in the kernel, some 0.1 us per rule; a search does not fit.
            assert!(crowded[1] < alone[1] * 4 + Duration::from_micros(300), "{crowded:?}");
        }
        gc("net", &[]).expect("gc");
        assert_eq!(rules(), [""; 0]);
    }
}
