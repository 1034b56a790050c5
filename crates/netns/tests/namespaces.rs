//! Namespaces are made, told apart, entered and left. Needs root.

use netns::{Error, Netns};
use std::path::Path;

fn links() -> String {
    std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default()
}

#[test]
fn work_runs_inside_and_the_caller_stays_outside() {
    let here = Netns::current().expect("current");
    let pod = Netns::anonymous().expect("new namespace");
    assert!(!pod.same_as(&here));
    let inside =
        pod.run(|| (Netns::current().expect("current").same_as(&pod), links())).expect("run");
    assert!(inside.0);
    assert!(inside.1.contains("lo:"), "{}", inside.1);
    assert!(Netns::current().expect("current").same_as(&here));
    assert!(Netns::open(pod.path()).expect("by fd path").same_as(&pod));
}

#[test]
fn a_panic_inside_reaches_the_caller() {
    let here = Netns::current().expect("current");
    let pod = Netns::anonymous().expect("new namespace");
    let caught = std::panic::catch_unwind(|| pod.run(|| panic!("inside")));
    assert_eq!(caught.expect_err("panic").downcast_ref::<&str>(), Some(&"inside"));
    assert!(Netns::current().expect("current").same_as(&here));
}

#[test]
fn what_is_no_network_namespace_is_refused() {
    let open = |path: &str| Netns::open(Path::new(path)).expect_err(path);
    assert!(matches!(open("/proc/self/ns/mnt"), Error::NotANamespace { .. }));
    assert!(matches!(open("/etc/hostname"), Error::NotANamespace { .. }));
    assert!(matches!(open("/dev/null"), Error::NotANamespace { .. }));
    assert!(matches!(open("/run/netns/there-is-none"), Error::NotFound { .. }));
    assert!(matches!(open("/proc/4194305/ns/net"), Error::NotFound { .. }));
    assert!(matches!(open("/etc/hostname/x"), Error::NotFound { .. }));
    assert!(open("/etc/hostname").is_gone());
    assert!(Netns::open(Path::new("/proc/self/ns/net")).is_ok());
}

#[test]
fn a_named_namespace_outlives_its_maker_and_is_removed() {
    let path = std::env::temp_dir().join(format!("podloom-netns-{}", std::process::id()));
    let inode = {
        let made = Netns::create(&path).expect("create");
        assert!(matches!(Netns::create(&path), Err(Error::Io { .. })), "must not be replaced");
        made
    };
    assert!(Netns::open(&path).expect("open").same_as(&inode));
    drop(inode);
    assert!(Netns::open(&path).is_ok());
    Netns::remove(&path).expect("remove");
    assert!(matches!(Netns::open(&path), Err(Error::NotFound { .. })));
    Netns::remove(&path).expect("remove again");
}
