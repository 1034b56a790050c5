//! Containers without a mount namespace: they inherit that of their maker (config-linux.md,
//! Namespaces). The maker's is one of the test's own here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "fails the test")]

mod support;

use serde_json::{Value, json};
use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use support::{Room, errors, text};

/// A mount namespace whose mounts are all shared among themselves, as systemd makes a host's.
struct Host(Child);

impl Host {
    fn new() -> Host {
        let ready = "mount --make-rshared / && echo ready && exec sleep 60";
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", ready]);
        let mut child = unshare.stdout(Stdio::piped()).spawn().expect("unshare of util-linux");
        let mut word = [0; 6];
        child.stdout.take().unwrap().read_exact(&mut word).expect("a namespace");
        Host(child)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.0.id().to_string(), "--mount", "--", program]);
        command.stdin(Stdio::null());
        command
    }

    fn shell(&self, script: &str) -> String {
        text(&self.command("sh").args(["-c", script]).output().unwrap())
    }

    /// Runs the program on a container; its output does not go to a pipe, which a container would
    /// hold open.
    fn run(&self, room: &Room, args: &[&str]) -> Output {
        let inner = room.command(args);
        let mut command = self.command(inner.get_program().to_str().unwrap());
        let (out, err) = (room.dir.join("out"), room.dir.join("err"));
        let file = |path| std::fs::File::create(path).unwrap();
        command.args(inner.get_args()).stdout(file(&out)).stderr(file(&err));
        let status = command.status().unwrap();
        Output { status, stdout: std::fs::read(out).unwrap(), stderr: std::fs::read(err).unwrap() }
    }

    fn create(&self, room: &Room) -> Output {
        let bundle = room.dir.join("bundle");
        self.run(room, &["create", "--bundle", bundle.to_str().unwrap(), &room.id])
    }

    /// Mounts of the namespace at and below the container's root.
    fn mounts(&self, room: &Room) -> usize {
        let all = self.shell("cat /proc/self/mountinfo");
        let root = room.rootfs();
        all.lines().filter(|line| line.contains(root.to_str().unwrap())).count()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A container that shares the mount namespace, and all others but that of processes.
fn room(command: &str) -> Option<Room> {
    let mut room = Room::new(command)?;
    room.set("/linux/namespaces", json!([{"type": "pid"}]));
    room.config.as_object_mut().unwrap().remove("hostname");
    Some(room)
}

#[test]
fn it_has_its_root_and_its_mounts_and_leaves_none_behind() {
    let Some(mut room) = room("sleep 30") else { return };
    room.set("/linux/maskedPaths", json!(["/proc/keys"]));
    room.set("/root/readonly", json!(true));
    let host = Host::new();
    // The bundle's own mount, which must outlive the container.
    let root = room.rootfs().display().to_string();
    host.shell(&format!("mount --bind {root} {root}"));
    let inside = |id: &str| host.shell(&format!("readlink /proc/{id}/ns/mnt"));
    assert_eq!(host.mounts(&room), 1);
    text(&host.create(&room));
    text(&host.run(&room, &["start", &room.id]));
    let state: Value = serde_json::from_str(&text(&host.run(&room, &["state", &room.id]))).unwrap();
    assert_eq!(inside(&state["pid"].to_string()), inside(&host.0.id().to_string()));
    assert!(host.mounts(&room) >= 6, "root, proc, dev, pts and a masked file");
    let script = "wc -c < /proc/keys; touch /bin/x 2>/dev/null || echo sealed; ls / | wc -l; cat /proc/1/comm";
    let seen = text(&host.run(&room, &["exec", &room.id, "sh", "-c", script]));
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["0", "sealed", "7", "sleep"]);
    let shared = host.shell("cat /proc/self/mountinfo");
    let mine = shared.lines().filter(|line| line.contains(&format!("{root}/")));
    assert!(mine.clone().count() > 0 && mine.clone().all(|line| !line.contains("shared:")));
    text(&host.run(&room, &["delete", "--force", &room.id]));
    assert_eq!(host.mounts(&room), 1, "the bundle's own is left, and nothing else");
    assert!(room.groups().is_empty() && !room.state_dir().exists());
}

#[test]
fn a_failed_creation_leaves_no_mount() {
    let Some(mut room) = room("true") else { return };
    room.set("/process/args", json!(["/bin/none"]));
    let host = Host::new();
    let failed = host.create(&room);
    assert!(!failed.status.success());
    assert!(errors(&failed).contains("/bin/none"), "{}", errors(&failed));
    assert_eq!(host.mounts(&room), 0);
    assert!(room.groups().is_empty() && !room.state_dir().exists());
}

#[test]
fn what_would_cover_the_host_is_refused() {
    let Some(mut room) = room("true") else { return };
    let host = Host::new();
    for path in ["/", "//", "/./"] {
        room.set("/root/path", json!(path));
        let refused = host.create(&room);
        assert!(errors(&refused).contains("root.path"), "{path}: {}", errors(&refused));
    }
    room.set("/root/path", json!("rootfs"));
    room.push("/linux/namespaces", json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
    room.set("/linux/uidMappings", map.clone());
    room.set("/linux/gidMappings", map);
    let refused = host.create(&room);
    assert!(errors(&refused).contains("linux.namespaces"), "{}", errors(&refused));
    assert_eq!(host.mounts(&room), 0);
}
