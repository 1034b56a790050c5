//! The daemon, its socket, and what there is without it.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use lab::address;
use nix::sys::signal::Signal;
use serde_json::json;
use stage::{PATIENT, Program, RELEASE, REQUEST, Site, seen};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_daemon_that_is_killed_goes_on_with_its_leases() {
    let site = Site::new("dhcp-resume");
    let _kea = site.kea();
    let pod = site.lab.pod("a");
    let conf = site.conf(&json!({}));
    let daemon = site.daemon(&[]);
    let result = site.macvlan().add(&pod, "eth0", &conf).ok();
    daemon.crash();
    let first = site.expiry();
    let capture = site.server.capture();
    let daemon = site.daemon(&[]);
    lab::until("the next daemon renews", PATIENT, || site.expiry() > first);
    assert_eq!(seen(&capture, REQUEST).1, address(&result, 0).to_string());
    site.macvlan().check(&pod, "eth0", &conf, &result).ok();
    // Away for longer than the lease: the address is had again.
    daemon.crash();
    std::thread::sleep(Duration::from_secs(7));
    let _daemon = site.daemon(&[]);
    lab::until("the same address again", PATIENT, || {
        site.records()[0]["leases"][0][1]["address"] == result["ips"][0]["address"]
            && pod.addresses("eth0") == [format!("{}/24", address(&result, 0))]
    });
    lab::until("CHECK is well", PATIENT, || {
        site.macvlan().check(&pod, "eth0", &conf, &result).success()
    });
    site.macvlan().del(&pod, "eth0", &conf).ok();
    assert_eq!(seen(&capture, RELEASE).1, address(&result, 0).to_string());
    assert!(site.records().is_empty());
}

#[test]
fn without_a_daemon_pods_can_be_deleted_and_nothing_else() {
    let site = Site::new("dhcp-dead-daemon");
    let _server = site.dnsmasq(&[]);
    let conf = site.conf(&json!({}));
    let (a, b, c) = (site.lab.pod("a"), site.lab.pod("b"), site.lab.pod("c"));
    // It was never there.
    let add = site.macvlan().add(&a, "eth0", &conf);
    assert!(add.code() == 104 && add.msg().contains("dhcp.sock: does not run"), "{add}");
    assert!(add.error()["details"].as_str().is_some_and(|d| d.contains("dhcp daemon")), "{add}");
    assert!(!a.has_link("eth0"));
    let status = site.macvlan().status(&conf);
    assert!(status.code() == 50 && status.msg().contains("dhcp.sock"), "{status}");
    site.macvlan().del(&a, "eth0", &conf).ok();

    let daemon = site.daemon(&[]);
    let before = site.lab.snapshot();
    let results = [&a, &b, &c].map(|pod| site.macvlan().add(pod, "eth0", &conf).ok());
    daemon.crash();
    let check = site.macvlan().check(&a, "eth0", &conf, &results[0]);
    assert!(check.code() == 104 && check.msg().contains("does not run"), "{check}");
    let capture = site.server.capture();
    site.macvlan().del(&a, "eth0", &conf).ok();
    assert_eq!(seen(&capture, RELEASE).1, address(&results[0], 0).to_string());
    site.macvlan().gc(&conf, &[(c.id(), "eth0")]).ok();
    lab::until("the server has two back", PATIENT, || {
        site.text("dnsmasq.leases").matches("10.66.0.1").count() == 1
    });
    // With the namespace gone there is nobody to tell the server; the record goes.
    c.delete();
    site.macvlan().del_without_netns(&c, "eth0", &conf).ok();
    site.macvlan().del(&c, "eth0", &conf).ok();
    assert!(site.records().is_empty());
    let _daemon = site.daemon(&[]);
    // The kernel takes the links of a namespace that is gone in its own time.
    // A link of macvlan goes with its pod, which GC leaves alone, in the kernel's own time.
    b.delete();
    lab::until("nothing is left", PATIENT, || before.diff(&site.lab.snapshot()).is_empty());
}

#[test]
fn a_silent_server_holds_up_its_own_pods_only() {
    let site = Site::new("dhcp-silent");
    let _daemon = site.daemon(&["-resendtimeout", "4s"]);
    let _server = site.dnsmasq(&[]);
    site.lab.node().ip("link add dead0 type veth peer name dead1");
    site.lab.node().ip("link set dead0 up");
    site.lab.node().ip("link set dead1 up");
    let (a, b) = (site.lab.pod("a"), site.lab.pod("b"));
    let mut dead = site.conf_of("macvlan", &json!({"master": "dead0"}), &json!({}));
    dead["name"] = "dead".into();
    let start = Instant::now();
    let failed = std::thread::scope(|scope| {
        let failing = scope.spawn(|| site.macvlan().add(&a, "eth0", &dead));
        std::thread::sleep(Duration::from_millis(300));
        let begin = Instant::now();
        site.macvlan().add(&b, "eth0", &site.conf(&json!({}))).ok();
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        failing.join().expect("ADD")
    });
    assert!((4..9).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(failed.code(), 11, "{failed}");
    for part in ["interface eth0", "network dead", "DHCPDISCOVER was sent", "no DHCPOFFER came"] {
        assert!(failed.msg().contains(part), "{part}: {failed}");
    }
    assert!(!a.has_link("eth0"));
    let status = site.macvlan().status(&dead);
    assert!(status.code() == 50 && status.msg().contains("DHCPDISCOVER"), "{status}");
    site.macvlan().status(&site.conf(&json!({}))).ok();
    site.macvlan().del(&a, "eth0", &dead).ok();
    assert_eq!(site.records().len(), 1);
}

#[test]
fn an_add_survives_the_death_of_the_daemon_and_a_daemon_that_of_the_caller() {
    let site = Site::new("dhcp-deaths");
    let daemon = site.daemon(&[]);
    let pod = site.lab.pod("a");
    let conf = site.conf(&json!({}));
    let (result, _daemon, _server) = std::thread::scope(|scope| {
        let adding = scope.spawn(|| site.macvlan().add(&pod, "eth0", &conf));
        lab::until("it is asked for", PATIENT, || pod.has_link("eth0"));
        std::thread::sleep(Duration::from_millis(500));
        daemon.crash();
        let daemon = site.daemon(&[]);
        let server = site.dnsmasq(&[]);
        let result = adding.join().expect("ADD").ok();
        (result, daemon, server)
    });
    site.macvlan().check(&pod, "eth0", &conf, &result).ok();
    site.macvlan().del(&pod, "eth0", &conf).ok();
    // A caller that is killed is not waited for, and leaves nothing.
    let lost = site.lab.pod("lost");
    let killed = site.macvlan().kill(lab::Kill::After(Duration::from_millis(2)));
    for _ in 0..20 {
        killed.add(&lost, "eth0", &conf);
        site.macvlan().del(&lost, "eth0", &conf).ok();
    }
    lab::until("nothing is kept", PATIENT, || site.records().is_empty());
}

#[test]
fn a_pod_that_goes_without_del_is_forgotten() {
    let site = Site::new("dhcp-gone");
    let _daemon = site.daemon(&[]);
    let _server = site.dnsmasq(&[]);
    let pod = site.lab.pod("a");
    site.macvlan().add(&pod, "eth0", &site.conf(&json!({}))).ok();
    pod.delete();
    lab::until("it is forgotten", PATIENT, || site.records().is_empty());
    assert!(site.text("daemon.log").contains("namespace is gone"), "{}", site.text("daemon.log"));
}

#[test]
fn one_daemon_for_a_socket_and_leases_outlive_it() {
    let site = Site::new("dhcp-daemon");
    let _server = site.dnsmasq(&[]);
    let pidfile = site.file("pid");
    let flags = ["-pidfile", pidfile.to_str().expect("a path")];
    let mut daemon = site.daemon(&flags);
    assert_eq!(std::fs::read_to_string(&pidfile).expect("a number"), daemon.pid().to_string());
    let mut second = Command::new(env!("CARGO_BIN_EXE_dhcp"));
    second.arg("daemon").arg("-socketpath").arg(site.socket());
    let done = second.output().expect("a second daemon");
    let words = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && words.contains("another DHCP daemon runs there"), "{words}");
    let pod = site.lab.pod("a");
    let conf = site.conf(&json!({}));
    let result = site.macvlan().add(&pod, "eth0", &conf).ok();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(), Some(0));
    assert!(!site.socket().exists() && !pidfile.exists());
    assert_eq!(site.records().len(), 1);
    let _daemon = site.daemon(&[]);
    site.macvlan().check(&pod, "eth0", &conf, &result).ok();
    let again = site.lab.plugin("dhcp").add(&pod, "eth0", &conf).ok();
    assert_eq!(address(&again, 0), address(&result, 0), "a repeated ADD has the same lease");
    let done = Command::new(env!("CARGO_BIN_EXE_dhcp")).args(["daemon", "-x"]).output();
    assert_eq!(done.expect("a daemon").status.code(), Some(2));
}

#[test]
fn a_service_manager_may_pass_the_socket() {
    let site = Site::new("dhcp-activation");
    let _server = site.dnsmasq(&[]);
    let listener = UnixListener::bind(site.socket()).expect("a socket");
    // Somebody calls before there is a daemon.
    let early = UnixStream::connect(site.socket()).expect("a connection");
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" daemon";
    let log = std::fs::File::create(site.file("daemon.log")).expect("a log");
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_dhcp")]);
    command.stdin(Stdio::from(OwnedFd::from(listener))).stderr(log);
    let daemon = site.lab.node().run(|| command.spawn()).expect("a daemon");
    let mut daemon = Program::of(daemon);
    let pod = site.lab.pod("a");
    site.macvlan().add(&pod, "eth0", &site.conf(&json!({}))).ok();
    assert_eq!(site.records().len(), 1, "leases lie beside the socket that was passed");
    drop(early);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(), Some(0));
    assert!(site.socket().exists(), "it is the service manager's");
}

#[test]
fn a_daemon_that_hangs_is_told() {
    let site = Site::new("dhcp-hangs");
    let daemon = site.daemon(&[]);
    daemon.signal(Signal::SIGSTOP);
    let pod = site.lab.pod("a");
    let start = Instant::now();
    let del = site.lab.plugin("dhcp").del(&pod, "eth0", &site.conf(&json!({})));
    assert!(del.code() == 11 && del.msg().contains("no answer within 10 s"), "{del}");
    assert!(start.elapsed() < Duration::from_secs(15));
    daemon.signal(Signal::SIGCONT);
    site.lab.plugin("dhcp").del(&pod, "eth0", &site.conf(&json!({}))).ok();
}

#[test]
fn fifty_leases_are_one_thread_and_no_sockets() {
    let site = Site::new("dhcp-many");
    let daemon = site.daemon(&[]);
    let _server = site.dnsmasq(&[]);
    let conf = site.conf(&json!({}));
    let pods: Vec<_> = (0..50).map(|n| site.lab.pod(&format!("p{n}"))).collect();
    std::thread::scope(|scope| {
        for part in pods.chunks(10) {
            scope.spawn(|| {
                part.iter().for_each(|pod| drop(site.macvlan().add(pod, "eth0", &conf).ok()))
            });
        }
    });
    assert_eq!(site.records().len(), 50);
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/{}/{what}", daemon.pid())).expect("a process").count()
    };
    assert_eq!(count("task"), 1);
    assert!(count("fd") < 12, "{} descriptors", count("fd"));
    site.macvlan().gc(&conf, &[]).ok();
    assert!(site.records().is_empty());
}

#[test]
fn a_daemon_in_a_container_has_the_nodes_paths_behind_a_prefix() {
    let site = Site::new("dhcp-prefix");
    let _server = site.dnsmasq(&[]);
    let daemon = site.daemon(&["-hostprefix", "/proc/self/root"]);
    let (a, b) = (site.lab.pod("a"), site.lab.pod("b"));
    let conf = site.conf(&json!({}));
    site.macvlan().add(&a, "eth0", &conf).ok();
    let result = site.macvlan().add(&b, "eth0", &conf).ok();
    site.macvlan().del(&a, "eth0", &conf).ok();
    daemon.crash();
    let capture = site.server.capture();
    site.macvlan().del(&b, "eth0", &conf).ok();
    assert_eq!(seen(&capture, RELEASE).1, address(&result, 0).to_string());
    assert!(site.records().is_empty());
}

#[test]
fn a_daemon_killed_at_any_moment_of_add_or_del_loses_no_lease() {
    let site = Site::new("dhcp-moments");
    // Three addresses: a lease that is lost track of is missed soon.
    let _server = site.dnsmasq(&["--dhcp-range=10.66.0.100,10.66.0.102,255.255.255.0,1h"]);
    let conf = site.conf(&json!({}));
    let mut daemon = site.daemon(&[]);
    for round in 0..30_u64 {
        let pod = site.lab.pod(&format!("p{round}"));
        let during = |verb: &dyn Fn() -> lab::Outcome, daemon: Program| {
            std::thread::scope(|scope| {
                let killing = scope.spawn(|| {
                    std::thread::sleep(Duration::from_micros(round * 1_300));
                    daemon.crash();
                    site.daemon(&[])
                });
                verb().ok();
                killing.join().expect("the next daemon")
            })
        };
        if round % 2 == 0 {
            daemon = during(&|| site.macvlan().add(&pod, "eth0", &conf), daemon);
            site.macvlan().del(&pod, "eth0", &conf).ok();
        } else {
            site.macvlan().add(&pod, "eth0", &conf).ok();
            daemon = during(&|| site.macvlan().del(&pod, "eth0", &conf), daemon);
        }
        assert!(site.records().is_empty(), "round {round}");
    }
    lab::until("the server has all back", PATIENT, || {
        !site.text("dnsmasq.leases").contains("10.66.0.1")
    });
}
