//! A disk that is full or cannot be written, and a program that is missing: the runtime says so, what
//! runs goes on, and what is asked to end ends.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

use cri_api::v1;
use cri_tests::{BUSY, Client, Node, container, pod};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tonic::Code;

/// Room on the disk, in bytes: the image, and then some.
const ROOM: u64 = 24 << 20;

/// A small disk; goes with this.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Disk {
        fs::create_dir_all(at).expect("directory");
        let disk = Disk(at.to_owned());
        mount(&["-t", "tmpfs", "-o", &format!("size={ROOM},mode=755"), "small"], at);
        disk
    }

    /// A directory that cannot be written any more, for whoever opens what is in it from now on.
    fn read_only(at: &Path) -> Disk {
        let source = at.display().to_string();
        mount(&["--bind", &source], at);
        let cover = Disk(at.to_owned());
        mount(&["-o", "remount,bind,ro"], at);
        cover
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).expect("a file");
        for size in [1 << 20, 4096, 1] {
            let piece = vec![7; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("remove");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "{} stays", self.0.display());
    }
}

fn mount(options: &[&str], at: &Path) {
    let done = Command::new("mount").args(options).arg(at).output().expect("mount");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

async fn runtime(client: &mut Client) -> v1::RuntimeCondition {
    let answer = client.runtime.status(v1::StatusRequest { verbose: false }).await;
    let status = answer.expect("status").into_inner().status.expect("status");
    let mut all = status.conditions.into_iter();
    all.find(|condition| condition.r#type == "RuntimeReady").expect("RuntimeReady")
}

/// Waits until the runtime says so.
async fn until(client: &mut Client, ready: bool) -> v1::RuntimeCondition {
    let begun = Instant::now();
    loop {
        let condition = runtime(client).await;
        if condition.status == ready {
            return condition;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{condition:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn on_a_full_disk_what_runs_goes_on_and_can_be_ended() {
    let Some(mut node) = Node::prepare("disk-full") else { return };
    let disk = Disk::mount(&node.path("lib"));
    node.serve();
    let image = node.image(BUSY, "1");
    let (of, other) = (pod("before"), pod("kept"));
    node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let id = client.run_pod(&of).await.expect("run");
        let kept = client.run_pod(&other).await.expect("run");
        let runs = client.launch(&id, &container("runs", &image, "sleep 1000"), &of).await;
        let script = "while [ ! -e /dev/shm/go ]; do sleep 0.05; done; exit 9";
        let ends = client.launch(&id, &container("ends", &image, script), &of).await;
        let stays = client.launch(&kept, &container("stays", &image, "sleep 1000"), &other).await;
        disk.fill();

        let told = until(client, false).await;
        assert_eq!(told.reason, "PodsCannotBeMade");
        let root = node.path("lib").display().to_string();
        assert!(told.message.contains(&root) && told.message.contains("space"), "{told:?}");
        let refused = client.run_pod(&pod("late")).await.expect_err("no room");
        assert!(refused.message().contains("space"), "{}", refused.message());
        let refused = client.create(&kept, &container("late", &image, "true"), &other).await;
        assert!(refused.as_ref().is_err_and(|e| e.message().contains("space")), "{refused:?}");

        assert_eq!(client.says(&stays, &["echo", "here"]).await, "here\n");
        client.says(&ends, &["touch", "/dev/shm/go"]).await;
        assert_eq!(client.ended(&ends).await.exit_code, 9);
        client.stop(&runs, 0).await.expect("stop");
        client.remove(&runs).await.expect("remove a container");
        client.stop_pod(&id).await.expect("stop the pod");
        client.remove_pod(&id).await.expect("remove the pod");
        disk.free();

        until(client, true).await;
        let late = client.launch(&kept, &container("late", &image, "exit 4"), &other).await;
        assert_eq!(client.ended(&late).await.exit_code, 4);
        client.remove_pod(&kept).await.expect("remove");
    });
    assert!(node.stop());
    drop(disk);
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn a_daemon_that_is_killed_on_a_full_disk_finds_all_again() {
    let Some(mut node) = Node::prepare("disk-killed") else { return };
    let disk = Disk::mount(&node.path("lib"));
    node.serve();
    let image = node.image(BUSY, "1");
    let of = pod("survivor");
    let (id, ends) = node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let id = client.run_pod(&of).await.expect("run");
        let ends = client.launch(&id, &container("ends", &image, "sleep 0.5; exit 8"), &of).await;
        (id, ends)
    });
    disk.fill();
    node.run(async |client: &mut Client| {
        let refused = client.run_pod(&pod("late")).await.expect_err("no room");
        assert_ne!(refused.code(), Code::DeadlineExceeded, "{}", refused.message());
    });
    node.kill();
    std::thread::sleep(Duration::from_millis(800));
    node.serve();
    node.run(async |client: &mut Client| {
        assert_eq!(client.ended(&ends).await.exit_code, 8);
        client.stop_pod(&id).await.expect("stop");
    });
    node.kill();
    disk.free();
    node.serve();
    node.run(async |client: &mut Client| {
        client.remove_pod(&id).await.expect("remove");
        until(client, true).await;
    });
    assert!(node.stop());
    drop(disk);
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn what_keeps_pods_from_being_made_is_told_with_its_cause() {
    let Some(mut node) = Node::prepare("disk-readonly") else { return };
    let shim = node.path("shim");
    fs::copy(lab::podloom_shim(), &shim).expect("copy");
    node.write("config.d/10-shim.toml", &format!("[files]\nshim = {shim:?}\n"));
    node.serve();
    node.run(async |client: &mut Client| {
        let condition = runtime(client).await;
        assert!(condition.status && condition.reason.is_empty(), "{condition:?}");
        let root = node.path("lib");
        let cover = Disk::read_only(&root);
        let told = until(client, false).await;
        let root = root.display().to_string();
        assert!(told.message.contains(&root) && told.message.contains("Read-only"), "{told:?}");
        drop(cover);
        until(client, true).await;
        fs::remove_file(&shim).expect("remove");
        let told = until(client, false).await;
        assert!(told.message.contains(&shim.display().to_string()), "{told:?}");
        fs::copy(lab::podloom_shim(), &shim).expect("copy");
        until(client, true).await;
    });
    assert!(node.stop());
}
