//! Namespaces of a pod: made, pinned, joined.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod support;

use serde_json::json;
use shim_client::Kind;
use shim_client::protocol::{Event, IdMapping, IdMappings, MakeNamespaces, Namespace, Whom};
use std::collections::BTreeMap;
use support::{Room, exec, process};

fn wanted(room: &Room) -> MakeNamespaces {
    MakeNamespaces {
        net: Some(room.dir.join("net")),
        ipc: true,
        uts: true,
        hostname: Some("of-the-pod".to_owned()),
        sysctls: [("net.ipv4.ip_forward", "1"), ("kernel.shm_rmid_forced", "1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..MakeNamespaces::default()
    }
}

#[tokio::test]
async fn containers_join_the_pinned_namespaces() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let made = shim.make_namespaces(&wanted(&room)).await.expect("namespaces");
    assert_eq!(made.paths.len(), 3);
    assert_eq!(made.paths[&Namespace::Net], room.dir.join("net"));
    let again = shim.make_namespaces(&wanted(&room)).await.expect_err("once");
    assert_eq!(again.kind, Kind::AlreadyExists);

    let mut bundle = room.bundle("c", "sleep 100");
    bundle.set(
        "/linux/namespaces",
        json!([{"type": "pid"}, {"type": "mount"},
            {"type": "network", "path": made.paths[&Namespace::Net]},
            {"type": "ipc", "path": made.paths[&Namespace::Ipc]},
            {"type": "uts", "path": made.paths[&Namespace::Uts]}]),
    );
    bundle.run(&shim).await;
    let show = "hostname; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced; \
        ip link show lo | grep -c UP; readlink /proc/self/ns/net";
    let (text, _) = exec(&shim, "c", "e", show).await;
    let net = std::fs::metadata(&made.paths[&Namespace::Net]).expect("a namespace");
    let net = format!("net:[{}]", std::os::unix::fs::MetadataExt::ino(&net));
    assert_eq!(text.lines().collect::<Vec<_>>(), ["of-the-pod", "1", "1", "1", net.as_str()]);

    let set = |name: &str| BTreeMap::from([(name.to_owned(), "0".to_owned())]);
    shim.set_sysctls(&set("net.ipv4.ip_forward")).await.expect("set");
    assert_eq!(exec(&shim, "c", "e", "cat /proc/sys/net/ipv4/ip_forward").await.0, "0\n");
    let host = shim.set_sysctls(&set("kernel.core_pattern")).await.expect_err("the host's");
    assert_eq!(host.kind, Kind::Invalid);

    shim.shutdown(true).await.expect("ended");
    // The namespaces outlive the shim, until they are unpinned.
    assert!(std::fs::File::open(&made.paths[&Namespace::Uts]).is_ok());
    shim_client::unpin(shim.dir(), Some(&room.dir.join("net"))).expect("unpinned");
    shim_client::unpin(shim.dir(), Some(&room.dir.join("net"))).expect("twice");
    assert!(made.paths.values().all(|path| !path.exists()), "{made:?}");
}

#[tokio::test]
async fn a_shared_pid_namespace_has_a_process_that_reaps() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let mut events = shim.events();
    let pid = MakeNamespaces { pid: true, ..wanted(&room) };
    let made = shim.make_namespaces(&pid).await.expect("namespaces");
    let init = made.init.expect("a first process");
    let shared = json!([{"type": "mount"}, {"type": "pid", "path": made.paths[&Namespace::Pid]}]);
    for id in ["a", "b"] {
        let mut bundle = room.bundle(id, "sleep 100 & sleep 100");
        bundle.set("/linux/namespaces", shared.clone());
        bundle.run(&shim).await;
    }
    let sleeping = "ps -o args | grep -c '^sleep 100'";
    until_prints(&shim, "a", sleeping, "4\n").await;
    let (text, _) = exec(&shim, "a", "e", "ps -o pid,args").await;
    assert!(text.contains("/init"), "{text}");
    // There is nothing to be found in it.
    let (text, code) =
        exec(&shim, "a", "e", "ls /proc/1/root/; cat /proc/1/root/etc/hostname").await;
    assert_ne!(code, 0, "{text}");
    // An orphan goes to it and does not stay.
    exec(&shim, "a", "e", "(sh -c 'true' & sleep 0.01; exec sleep 0.2) & sleep 0.4").await;
    lab::until("orphans are reaped", support::PATIENCE, || {
        let children = format!("/proc/{init}/task/{init}/children");
        std::fs::read_to_string(children).is_ok_and(|list| list.trim().is_empty())
    });
    // The end of the first process ends the others of its container, and nobody else.
    shim.kill("a", 9, Whom::First).await.expect("killed");
    assert_eq!(shim.wait("a").await.expect("its end").code, 137);
    until_prints(&shim, "b", sleeping, "2\n").await;
    support::kill(init);
    assert_eq!(shim.wait("b").await.expect("its end").code, 137);
    let told = async {
        loop {
            if let Some(Event::InitExited { code }) = events.next().await {
                return code;
            }
        }
    };
    assert_eq!(tokio::time::timeout(support::PATIENCE, told).await.expect("told"), 137);
    shim.shutdown(true).await.expect("ended");
}

/// Waits until a command in a container prints what is wanted.
async fn until_prints(shim: &shim_client::Shim, id: &str, command: &str, wanted: &str) {
    let until = std::time::Instant::now() + support::PATIENCE;
    loop {
        let (text, _) = exec(shim, id, "e", command).await;
        if text == wanted {
            return;
        }
        assert!(std::time::Instant::now() < until, "{command}: {text}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_user_namespace_owns_the_others() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let map = |size| vec![IdMapping { container: 0, host: 200_000, size }];
    let ids = IdMappings { uids: map(65536), gids: map(65536) };
    let all = MakeNamespaces { user: Some(ids), pid: true, ..wanted(&room) };
    let made = shim.make_namespaces(&all).await.expect("namespaces");
    let join = |kind: &str, space| json!({"type": kind, "path": made.paths[&space]});
    let mut bundle = room.bundle("c", "sleep 100");
    bundle.set(
        "/linux/namespaces",
        json!([{"type": "mount"}, join("user", Namespace::User), join("network", Namespace::Net),
            join("pid", Namespace::Pid), join("uts", Namespace::Uts), join("ipc", Namespace::Ipc)]),
    );
    bundle.set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]));
    bundle.set("/linux/gidMappings", json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]));
    let pid = bundle.run(&shim).await;
    let (text, code) = exec(&shim, "c", "e", "id -u; ip link set lo down && hostname").await;
    assert_eq!((text.as_str(), code), ("0\nof-the-pod\n", 0), "root there rules its network");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    assert!(status.contains("Uid:\t200000"), "{status}");
    shim.shutdown(true).await.expect("ended");
}

#[tokio::test]
async fn what_cannot_be_made_leaves_nothing() {
    let Some(room) = Room::new() else { return };
    let shim = room.spawn().await;
    let mut bad = wanted(&room);
    bad.sysctls.insert("net.ipv4.no_such_thing".to_owned(), "1".to_owned());
    let error = shim.make_namespaces(&bad).await.expect_err("no such parameter");
    assert!(error.subject.contains("no_such_thing"), "{error}");
    assert!(!room.dir.join("net").exists());
    shim.make_namespaces(&wanted(&room)).await.expect("now they are made");
    let made = shim.about().namespaces.clone();
    assert_eq!(made, None, "as of the greeting");
    let process = shim.exec("none", "e", process("true"), Default::default()).await;
    assert_eq!(process.expect_err("no container").kind, Kind::NotFound);
    shim.shutdown(false).await.expect("ended");
}
