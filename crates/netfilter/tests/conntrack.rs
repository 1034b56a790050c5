//! Conntrack entries in a network namespace of the test's own.
//!
//! Needs root and the `conntrack` program; reported as skipped without them.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of a test fail the test, and a skipped test says so"
)]

use netfilter::conntrack::{Conntrack, Family, Filter};
use std::process::Command;

/// Puts the calling thread, which ends with the test, into a namespace of its own.
fn own_namespace() -> bool {
    let ready = nix::unistd::geteuid().is_root()
        && Command::new("conntrack").arg("--version").output().is_ok_and(|o| o.status.success());
    if !ready {
        println!("skipped: needs root and the conntrack program");
        return false;
    }
    #[allow(clippy::disallowed_methods, reason = "a test thread that ends in its namespace")]
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("unshare");
    true
}

fn track(protocol: &str, from: &str, to: &str, port: u16, answer: &str) {
    let mut command = Command::new("conntrack");
    command.args(["-I", "-p", protocol, "-t", "300", "-s", from, "-d", to]);
    command.args(["-r", answer, "-q", from, "--sport", "40000", "--dport", &port.to_string()]);
    command.args(["--reply-port-src", &port.to_string(), "--reply-port-dst", "40000"]);
    if protocol != "udp" {
        command.args(["--state", "ESTABLISHED"]);
    }
    if protocol == "sctp" {
        command.args(["--orig-vtag", "1", "--reply-vtag", "2"]);
    }
    let output = command.output().expect("conntrack");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn only_what_is_meant_is_forgotten() {
    if !own_namespace() {
        return;
    }
    track("udp", "192.0.2.7", "192.0.2.1", 53, "10.1.0.9");
    track("udp", "192.0.2.8", "192.0.2.1", 53, "10.1.0.8");
    track("udp", "192.0.2.7", "192.0.2.1", 54, "10.1.0.9");
    track("tcp", "192.0.2.7", "192.0.2.1", 53, "10.1.0.9");
    track("udp", "2001:db8::7", "2001:db8::1", 53, "2001:db8:1::9");
    let mut conntrack = Conntrack::open().expect("socket");
    let udp = Filter::protocol(17);
    assert_eq!(conntrack.list(Family::V4, &udp).expect("list").len(), 3);
    let port = Filter { to_port: Some(53), ..udp };
    assert_eq!(conntrack.list(Family::V4, &port).expect("list").len(), 2);
    let pod = Filter { answered_by: Some("10.1.0.9".parse().expect("address")), ..port };
    assert_eq!(conntrack.forget(Family::V4, &pod, |_| false).expect("keep"), 0);
    assert_eq!(conntrack.forget(Family::V4, &pod, |_| true).expect("forget"), 1);
    assert_eq!(conntrack.forget(Family::V4, &pod, |_| true).expect("again"), 0);
    assert_eq!(conntrack.list(Family::V4, &udp).expect("list").len(), 2);
    assert_eq!(conntrack.list(Family::V4, &Filter::protocol(6)).expect("list").len(), 1);
    let six = Filter { to: Some("2001:db8::1".parse().expect("address")), ..udp };
    assert_eq!(conntrack.forget(Family::V6, &six, |_| true).expect("forget"), 1);
    assert_eq!(conntrack.list(Family::V6, &udp).expect("list").len(), 0);
}

#[test]
fn a_sweep_takes_what_matches_and_nothing_else() {
    if !own_namespace() {
        return;
    }
    assert!(netfilter::conntrack::is_empty());
    track("udp", "192.0.2.7", "192.0.2.1", 53, "10.1.0.9");
    track("udp", "192.0.2.8", "192.0.2.2", 53, "10.1.0.9");
    track("udp", "192.0.2.9", "192.0.2.1", 53, "10.1.0.8");
    track("udp", "192.0.2.7", "192.0.2.1", 54, "10.1.0.9");
    track("tcp", "192.0.2.7", "192.0.2.1", 53, "10.1.0.9");
    track("sctp", "192.0.2.7", "192.0.2.1", 53, "10.1.0.9");
    track("udp", "2001:db8::7", "2001:db8::1", 53, "2001:db8:1::9");
    track("udp", "2001:db8::7", "2001:db8::2", 53, "2001:db8:1::8");
    assert!(!netfilter::conntrack::is_empty());
    let mut conntrack = Conntrack::open().expect("socket");
    let ip = |text: &str| Some(text.parse().expect("address"));
    let count = |c: &mut Conntrack, family, protocol| {
        c.list(family, &Filter::protocol(protocol)).expect("list").len()
    };
    let port = Filter { to_port: Some(53), ..Filter::protocol(17) };
    let pod = Filter { answered_by: ip("10.1.0.9"), to: ip("192.0.2.1"), ..port };
    conntrack.sweep(Family::V4, &pod).expect("sweep");
    assert_eq!(count(&mut conntrack, Family::V4, 17), 3);
    conntrack.sweep(Family::V4, &Filter { to: ip("192.0.2.2"), ..port }).expect("sweep");
    assert_eq!(count(&mut conntrack, Family::V4, 17), 2);
    conntrack.sweep(Family::V4, &Filter { protocol: 132, ..port }).expect("sweep");
    assert_eq!(count(&mut conntrack, Family::V4, 132), 0);
    let six = Filter { answered_by: ip("2001:db8:1::9"), ..port };
    conntrack.sweep(Family::V6, &six).expect("sweep");
    assert_eq!(count(&mut conntrack, Family::V6, 17), 1);
    assert_eq!(count(&mut conntrack, Family::V4, 6), 1);
    assert_eq!(count(&mut conntrack, Family::V4, 17), 2);
}
