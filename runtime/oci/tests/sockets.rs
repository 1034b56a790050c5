//! Descriptors handed to the caller's sockets: process handles and seccomp notifications.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod support;

use rustix::fd::OwnedFd;
use rustix::io::IoSliceMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;
use support::{Room, errors, text};

/// Takes one connection, all its bytes, and the descriptor that comes with them.
fn listener(path: &std::path::Path) -> JoinHandle<(Vec<u8>, Option<OwnedFd>)> {
    let socket = UnixListener::bind(path).expect("a socket");
    std::thread::spawn(move || {
        let (stream, _) = socket.accept().expect("a connection");
        let (mut bytes, mut fd) = (Vec::new(), None);
        loop {
            let mut buffer = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let got =
                rustix::net::recvmsg(&stream, &mut parts, &mut control, flags).expect("recvmsg");
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    fd = fds.last().or(fd);
                }
            }
            if got.bytes == 0 {
                return (bytes, fd);
            }
            bytes.extend(&buffer[..got.bytes]);
        }
    })
}

fn link(fd: &OwnedFd) -> String {
    use rustix::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::read_link(path).expect("a link").to_string_lossy().into_owned()
}

#[test]
fn an_agent_gets_the_notifications_and_the_state() {
    let Some(mut room) = Room::new("mkdir /tmp/x; echo after") else { return };
    let path = room.dir.join("agent");
    for no_new_privileges in [true, false] {
        let _ = std::fs::remove_file(&path);
        let agent = listener(&path);
        room.set("/process/noNewPrivileges", json!(no_new_privileges));
        room.set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "meta",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]}),
        );
        let running = std::thread::scope(|scope| {
            let whole = scope.spawn(|| room.whole());
            let (bytes, fd) = agent.join().expect("the agent");
            let told: Value = serde_json::from_slice(&bytes).expect("a state");
            assert_eq!(
                (told["metadata"].as_str(), told["state"]["id"].as_str()),
                (Some("meta"), Some(&*room.id))
            );
            assert_eq!(told["fds"], json!(["seccompFd"]));
            assert!(told["pid"].as_i64().is_some_and(|pid| pid > 1));
            assert_eq!(link(fd.as_ref().expect("a descriptor")), "anon_inode:seccomp notify");
            // Nobody answers: the call fails.
            drop(fd);
            whole.join().expect("the container")
        });
        assert!(errors(&running).contains("not implemented"), "{running:?}");
        assert_eq!(text(&running), "after");
    }
    room.assert_gone();
    std::fs::remove_file(&path).expect("rm");
    assert!(errors(&room.run(&["create", &room.id])).contains("listenerPath"));
    room.assert_gone();
}

#[test]
fn handles_of_processes_are_sent() {
    let Some(room) = Room::new("sleep 100") else { return };
    let path = room.dir.join("handle");
    let name = path.to_string_lossy().into_owned();
    let taker = listener(&path);
    room.ok(&["create", "--pidfd-socket", &name]);
    let (_, fd) = taker.join().expect("the taker");
    assert!(link(fd.as_ref().expect("a handle")).contains("pidfd"));
    room.ok(&["start"]);
    std::fs::remove_file(&path).expect("rm");
    let taker = listener(&path);
    let entered = room.exec(&["--pidfd-socket", &name], "true");
    assert!(entered.status.success(), "{entered:?}");
    assert!(link(taker.join().expect("the taker").1.as_ref().expect("a handle")).contains("pidfd"));
}
