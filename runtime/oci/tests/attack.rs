//! What a hostile image, container or configuration tries; each must fail and leave the host as it
//! was. Mounts, seccomp filters and control groups have their own in their crates.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod support;

use serde_json::json;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use support::{Room, errors, text};

fn hash() -> String {
    let done = Command::new("sha256sum").arg(env!("CARGO_BIN_EXE_podloom-oci")).output();
    String::from_utf8_lossy(&done.expect("sha256sum").stdout).into_owned()
}

fn script(room: &Room, name: &str, text: &str) {
    let path = room.rootfs().join("bin").join(name);
    std::fs::write(&path, text).expect("a script");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("chmod");
}

/// CVE-2019-5736: the runtime's program as interpreter, or as the program itself.
#[test]
fn the_hosts_program_cannot_be_run_or_written_from_inside() {
    let Some(mut room) = Room::new("sleep 100") else { return };
    let before = hash();
    script(&room, "evil", "#!/proc/self/exe\n");
    symlink("/proc/self/exe", room.rootfs().join("bin/link")).expect("a link");
    for program in ["/bin/evil", "/bin/link", "/proc/self/exe", "/proc/1/exe"] {
        room.set("/process/args", json!([program, "--version"]));
        let made = room.run(&["run", &room.id]);
        assert!(!made.status.success(), "{program}: {made:?}");
        assert!(!String::from_utf8_lossy(&made.stdout).contains("podloom"), "{program}: {made:?}");
    }
    room.set("/process/args", json!(["sleep", "100"]));
    room.ok(&["create"]);
    room.ok(&["start"]);
    for program in ["/bin/evil", "/bin/link", "/proc/self/exe"] {
        let entered = room.run(&["exec", &room.id, program, "--version"]);
        assert!(!entered.status.success(), "{program}: {entered:?}");
        assert!(!String::from_utf8_lossy(&entered.stdout).contains("podloom"), "{entered:?}");
    }
    assert_eq!(hash(), before);
}

/// The same by watching: a process of the container opens whatever `exec` shows of itself.
#[test]
fn exec_shows_nothing_of_the_host_to_the_container() {
    let watch = "while :; do for p in /proc/[0-9]*; do \
        case $(readlink $p/exe) in ''|/bin/busybox) ;; *) readlink $p/exe >> /tmp/seen;; esac; \
        ls -l $p/fd 2>/dev/null | grep -E 'state|memfd|socket' >> /tmp/seen; done; done";
    let Some(mut room) = Room::new(watch) else { return };
    // The watcher may look into everything that the kernel lets it.
    let all = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    room.set("/process/capabilities", json!({"bounding": all, "effective": all, "permitted": all}));
    room.set("/process/capabilities", json!({}));
    room.ok(&["create"]);
    room.ok(&["start"]);
    for _ in 0..40 {
        assert!(room.exec(&[], "true").status.success());
    }
    room.ok(&["delete", "--force"]);
    let seen = std::fs::read_to_string(room.rootfs().join("tmp/seen")).unwrap_or_default();
    assert!(!seen.contains("podloom-oci"), "{seen}");
}

/// CVE-2024-21626: a working directory by way of a descriptor.
#[test]
fn the_working_directory_is_inside() {
    let Some(mut room) = Room::new("pwd") else { return };
    for number in 3..16 {
        room.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        let made = room.whole();
        assert!(!made.status.success(), "{number}: {made:?}");
    }
    room.set("/process/cwd", json!("/"));
    room.set("/process/args", json!(["sleep", "100"]));
    room.ok(&["create"]);
    room.ok(&["start"]);
    for number in 3..16 {
        let cwd = format!("/proc/self/fd/{number}");
        let entered = room.exec(&["--cwd", &cwd], "pwd");
        assert!(!entered.status.success(), "{number}: {entered:?}");
    }
}

#[test]
fn no_descriptor_of_the_host_is_left_open() {
    let Some(room) = Room::new("sleep 100") else { return };
    // Without close-on-exec, as careless callers have them.
    let mut leaky = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_podloom-oci");
    drop(room.command(&[]));
    let line = format!(
        "exec 5</etc/passwd 9</; {program} --root {0}/state create --bundle {0}/bundle {1} && \
         {program} --root {0}/state start {1} && {program} --root {0}/state exec {1} ls /proc/self/fd",
        room.dir.display(),
        room.id
    );
    let (out, err) = (room.dir.join("o"), room.dir.join("e"));
    let file = |path: &std::path::Path| std::fs::File::create(path).expect("a file");
    let status = leaky.args(["-c", &line]).stdout(file(&out)).stderr(file(&err)).status();
    assert!(status.expect("sh").success(), "{:?}", std::fs::read_to_string(&err));
    // The fourth is the directory that ls itself has opened.
    assert_eq!(std::fs::read_to_string(&out).expect("output"), "0\n1\n2\n3\n");
    let fds = format!("/proc/{}/fd", room.pid());
    assert_eq!(std::fs::read_dir(fds).expect("descriptors").count(), 3);
}

#[test]
fn names_and_paths_do_not_lead_out() {
    let Some(mut room) = Room::new("true") else { return };
    for id in ["../x", "..", "a/b", "", ".hidden"] {
        let made = room.run(&["create", "--", id]);
        assert!(!made.status.success(), "{id:?}: {made:?}");
    }
    room.set("/linux/cgroupsPath", json!("/a/../../b"));
    assert!(errors(&room.whole()).contains("cgroupsPath"));
    let output = room.run(&["--root", "/tmp/../x", "list"]);
    assert!(!output.status.success());
    assert!(!room.state_dir().exists());
}

/// Hostile configurations: a clear error, and nothing is made.
#[test]
fn hostile_configurations_make_nothing() {
    let Some(mut room) = Room::new("true") else { return };
    let cases = [
        ("/linux/namespaces", json!([{"type": "flat"}]), "flat"),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "pid"}, {"type": "pid"}]),
            "twice",
        ),
        ("/linux/namespaces", json!([{"type": "mount", "path": "relative"}]), "absolute"),
        ("/process/user", json!({"uid": 4_294_967_296_u64}), "uid"),
        ("/process/user", json!({"uid": -1}), "uid"),
        ("/process/user", json!({"uid": 4_294_967_295_u32}), "uid"),
        ("/process/user", json!({"additionalGids": [4_294_967_295_u32]}), "additionalGids"),
        ("/process/oomScoreAdj", json!(5000), "oomScoreAdj"),
        ("/process/rlimits", json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]), "RLIMIT_X"),
        ("/process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), "soft"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!(["a\u{0}b"]), "zero byte"),
        ("/process/env", json!(["=x"]), "process.env"),
        ("/process/cwd", json!("relative"), "absolute"),
        ("/linux/sysctl", json!({"kernel.core_pattern": "|/x"}), "core_pattern"),
        ("/linux/sysctl", json!({"kernel.shmmax+kernel.core_pattern": "|/x"}), "not the name"),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1\nkernel.core_pattern=x"}), "line"),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
            "user namespace",
        ),
        ("/linux/timeOffsets", json!({"boottime": {"secs": 1}}), "time namespace"),
        ("/linux/personality", json!({"domain": "VMS"}), "VMS"),
        ("/hooks", json!({"prestart": [{"path": "relative"}]}), "absolute"),
        ("/hooks", json!({"prestart": [{"path": "/x", "timeout": -1}]}), "timeout"),
        ("/ociVersion", json!("2.0.0"), "1.x"),
        ("/ociVersion", json!("x"), "version"),
    ];
    for (pointer, value, want) in cases {
        let kept = room.config.clone();
        room.set(pointer, value.clone());
        let failed = room.run(&["create", &room.id]);
        assert!(!failed.status.success(), "{pointer} {value}");
        assert!(errors(&failed).contains(want), "{pointer} {value}: {failed:?}");
        assert!(!room.state_dir().exists(), "{pointer} {value}");
        room.config = kept;
    }
    room.assert_gone();
}

/// CVE-2022-29162: `exec --cap` gives nothing that an unprivileged child could inherit.
#[test]
fn added_capabilities_are_not_inheritable() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    let shown = text(&room.exec(&["--cap", "CAP_NET_ADMIN"], "grep Cap /proc/self/status"));
    assert!(shown.contains("CapInh:\t0000000000000000"), "{shown}");
    assert!(shown.contains("CapEff:\t0000000000001000"), "{shown}");
    assert!(shown.contains("CapAmb:\t0000000000000000"), "{shown}");
}

/// CVE-2026-30892: the user is exactly the one asked for.
#[test]
fn users_are_numbers_in_range() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    assert_eq!(text(&room.exec(&["--user", "7:8"], "id -u; id -g")), "7\n8");
    assert_eq!(text(&room.exec(&["--user", "7"], "id -u; id -g")), "7\n0");
    for bad in ["4294967296", "-1", "4294967295", "u", "1:", ":1", "+1", "0x0", "1:2:3", ""] {
        let entered = room.exec(&["--user", bad], "id -u");
        assert!(!entered.status.success(), "{bad:?}: {entered:?}");
    }
}

/// A passwd file of an image: endless, or with lines meant to be put into the environment.
#[test]
fn home_comes_from_a_sane_line_only() {
    let Some(room) = Room::new("echo $HOME") else { return };
    let passwd = room.rootfs().join("etc/passwd");
    let long = format!("root:x:0:0::/{}:/bin/sh\n", "x".repeat(5000));
    for (content, want) in [
        ("root:x:0:0::/root:/bin/sh\n".to_owned(), "/root"),
        ("x:y:0:0::/first:\nroot:x:0:0::/second:\n".to_owned(), "/first"),
        (long, "/"),
        (String::new(), "/"),
    ] {
        std::fs::write(&passwd, content).expect("passwd");
        assert_eq!(text(&room.whole()), want);
    }
    std::fs::remove_file(&passwd).expect("rm");
    symlink("/dev/zero", &passwd).expect("a link");
    assert_eq!(text(&room.whole()), "/");
}
