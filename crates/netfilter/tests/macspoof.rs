//! Source MAC rules in network and mount namespaces of the test's own.
//!
//! Needs root and `nft`; reported as skipped without them.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panic, and says what it skipped"
)]

use cni_types::{Attachment, Code};
use netfilter::macspoof::{MacSpoof, check, gc, probe, setup, teardown};
use netfilter::masquerade::Owner;
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use std::process::Command;

fn own_node() -> bool {
    let ready = nix::unistd::geteuid().is_root()
        && Command::new("nft").arg("--version").output().is_ok_and(|o| o.status.success());
    if !ready {
        println!("skipped: needs root and nft");
        return false;
    }
    #[allow(clippy::disallowed_methods, reason = "a test thread that ends in its namespaces")]
    nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("unshare");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private");
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("tmpfs");
    true
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn wish<'a>(network: &'a str, container_id: &'a str) -> MacSpoof<'a> {
    let owner = Owner { network, container_id, ifname: "eth0" };
    MacSpoof { owner, port: "lo", mac: [2, 0, 0, 0, 0, 1] }
}

fn ruleset() -> String {
    run("nft", &["list", "ruleset"])
}

#[test]
fn rules_live_and_die_as_the_references_do() {
    if !own_node() {
        return;
    }
    probe().expect("probe");
    let a = wish("net", "a");
    drop(teardown(&a.owner).expect("nothing is there"));
    setup(&a).expect("setup");
    setup(&a).expect("again");
    check(&a).expect("check");
    let listing = ruleset();
    for line in [
        "type filter hook prerouting priority dstnat; policy accept;",
        "iifname \"lo\" jump cni-br-iface-a-eth0 comment \"macspoofchk-a-eth0\"",
        "jump cni-br-iface-a-eth0-mac comment \"macspoofchk-a-eth0\"",
        "ether saddr 02:00:00:00:00:01 return comment \"macspoofchk-a-eth0\"",
        "drop comment \"macspoofchk-a-eth0\"",
    ] {
        assert_eq!(listing.lines().filter(|l| l.trim() == line).count(), 1, "{line}: {listing}");
    }
    let other = MacSpoof { mac: [2, 0, 0, 0, 0, 2], ..a };
    assert_eq!(check(&other).expect_err("other address").code, Code::Drift);

    setup(&wish("net", "b")).expect("setup");
    for records_lost in [false, true] {
        if records_lost {
            std::fs::remove_dir_all("/run/podloom").expect("lose the records");
        }
        drop(teardown(&a.owner).expect("teardown"));
        let listing = ruleset();
        assert!(!listing.contains("-a-eth0") && listing.contains("-b-eth0"), "{listing}");
        assert_eq!(check(&a).expect_err("gone").code, Code::Drift);
        setup(&a).expect("setup");
    }
}

#[test]
fn gc_knows_networks_by_records_and_dead_rules_by_their_ports() {
    if !own_node() {
        return;
    }
    let (stale, valid, other) = (wish("net", "stale"), wish("net", "valid"), wish("other", "pod"));
    for wish in [&stale, &valid, &other, &MacSpoof { port: "gone0", ..wish("x", "portless") }] {
        setup(wish).expect("setup");
    }
    let keep = Attachment { container_id: "valid".to_owned(), ifname: "eth0".to_owned() };
    gc("net", &[keep]).expect("gc");
    let listing = ruleset();
    let left: Vec<bool> =
        ["stale", "valid", "pod", "portless"].map(|id| listing.contains(&format!("-{id}-"))).into();
    assert_eq!(left, [false, true, true, false], "{listing}");
}
