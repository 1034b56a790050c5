//! What a process gets, as first one and by exec.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod support;

use serde_json::json;
use support::{Room, errors, text};

const SHOW: &str =
    "id; umask; grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; ulimit -n; pwd; hostname";

#[test]
fn first_and_further_processes_get_what_was_configured() {
    let Some(mut room) = Room::new(&format!("{SHOW}; sleep 100")) else { return };
    let caps = json!(["CAP_KILL", "CAP_CHOWN"]);
    room.set(
        "/process/capabilities",
        json!({"bounding": caps, "permitted": caps, "effective": caps}),
    );
    room.set("/process/user", json!({"uid": 0, "gid": 8, "umask": 0o77, "additionalGids": [5, 6]}));
    room.set("/process/noNewPrivileges", json!(true));
    room.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 60, "hard": 70}]));
    room.set("/process/cwd", json!("/new/dir"));
    room.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}),
    );
    let log = room.dir.join("log");
    let file = std::fs::File::create(&log).expect("a file");
    let made = room.command(&["create", &room.id]).stdout(file).status();
    assert!(made.expect("create").success());
    room.ok(&["start"]);
    let entered = text(&room.exec(&[], SHOW));
    lab::until("the first process has told", support::PATIENCE, || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("inside"))
    });
    let first = std::fs::read_to_string(&log).expect("output");
    assert_eq!(entered, first.trim());
    for want in [
        "uid=0(root) gid=8 groups=5,6",
        "0077",
        "CapEff:\t0000000000000021",
        "CapBnd:\t0000000000000021",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "60",
        "/new/dir",
        "inside",
    ] {
        assert!(entered.contains(want), "{want}: {entered}");
    }
    // The filter is in force in exec too.
    let denied = room.exec(&[], "mkdir /tmp/x");
    assert!(errors(&denied).contains("not supported"), "{denied:?}");
}

#[test]
fn a_user_that_is_not_root() {
    let Some(mut room) =
        Room::new("id; grep CapEff /proc/self/status; echo $HOME; echo x >> /dev/stdout")
    else {
        return;
    };
    room.set("/process/user", json!({"uid": 7, "gid": 8}));
    let caps = json!(["CAP_NET_RAW"]);
    room.set(
        "/process/capabilities",
        json!({"bounding": caps, "permitted": caps, "effective": caps,
        "inheritable": caps, "ambient": caps}),
    );
    let shown = text(&room.whole());
    for want in ["uid=7(u) gid=8", "CapEff:\t0000000000002000", "/tmp", "x"] {
        assert!(shown.contains(want), "{want}: {shown}");
    }
}

#[test]
fn a_user_namespace_maps_root_to_somebody() {
    let Some(mut room) = Room::new("id -u; cat /proc/self/uid_map; touch /tmp/mine && ls -ln /tmp")
    else {
        return;
    };
    room.push("/linux/namespaces", json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    room.set("/linux/uidMappings", map.clone());
    room.set("/linux/gidMappings", map);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(room.rootfs().join("tmp"), open).expect("chmod");
    let shown = text(&room.whole());
    assert!(shown.starts_with("0\n"), "{shown}");
    assert!(shown.split_whitespace().any(|word| word == "100000"), "{shown}");
    let owner = std::fs::metadata(room.rootfs().join("tmp/mine")).expect("a file");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 100_000);
    room.set("/process/args", json!(["sleep", "100"]));
    room.ok(&["create"]);
    room.ok(&["start"]);
    assert_eq!(text(&room.exec(&[], "id -u; cat /proc/1/comm")), "0\nsleep");
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}

#[test]
fn namespaces_of_another_container_are_joined() {
    let Some(first) = Room::new("sleep 100") else { return };
    first.ok(&["create"]);
    first.ok(&["start"]);
    let Some(mut second) =
        Room::new("hostname; ps | grep -c '[s]leep'; readlink /proc/self/ns/net")
    else {
        return;
    };
    let pid = first.pid();
    let path = |name: &str| format!("/proc/{pid}/ns/{name}");
    second.set(
        "/linux/namespaces",
        json!([{"type": "mount"}, {"type": "pid", "path": path("pid")},
        {"type": "network", "path": path("net")}, {"type": "uts", "path": path("uts")},
        {"type": "ipc", "path": path("ipc")}]),
    );
    let shown = text(&second.whole());
    let net = std::fs::read_link(path("net")).expect("a namespace");
    let want = format!("inside\n1\n{}", net.display());
    assert_eq!(shown, want);
    second.set("/hostname", json!(""));
    second
        .set("/linux/namespaces", json!([{"type": "mount"}, {"type": "pid", "path": path("net")}]));
    assert!(errors(&second.whole()).contains("another kind"));
    second.set(
        "/linux/namespaces",
        json!([{"type": "mount"}, {"type": "pid", "path": "/etc/passwd"}]),
    );
    assert!(errors(&second.whole()).contains("no namespace"));
}

#[test]
fn clocks_have_offsets() {
    let Some(mut room) = Room::new("cut -d. -f1 /proc/uptime 2>/dev/null || cat /proc/uptime")
    else {
        return;
    };
    room.push("/linux/namespaces", json!({"type": "time"}));
    room.set("/linux/timeOffsets", json!({"boottime": {"secs": 1_000_000_000}}));
    let shown = text(&room.whole());
    let uptime: f64 = shown.split_whitespace().next().and_then(|n| n.parse().ok()).expect("uptime");
    assert!(uptime > 1e9, "{shown}");
}

#[test]
fn parameters_of_namespaces_are_set() {
    let Some(mut room) = Room::new(
        "cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_unprivileged_port_start; ip link show lo",
    ) else {
        return;
    };
    room.set(
        "/linux/sysctl",
        json!({"kernel.shmmni": "99", "net.ipv4.ip_unprivileged_port_start": "0"}),
    );
    room.set("/linux/readonlyPaths", json!(["/proc/sys"]));
    let shown = text(&room.whole());
    assert!(shown.starts_with("99\n0\n"), "{shown}");
    assert!(shown.contains("UP"), "{shown}");
}

#[test]
fn scheduling_and_priorities() {
    let Some(mut room) = Room::new("awk '{print $19}' /proc/self/stat; uname -m 2>/dev/null; true")
    else {
        return;
    };
    room.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5}));
    room.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}));
    room.set("/linux/personality", json!({"domain": "LINUX32"}));
    room.set(
        "/linux/memoryPolicy",
        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
    );
    assert!(text(&room.whole()).starts_with('5'));
}

#[test]
fn a_terminal_in_the_foreground() {
    let Some(mut room) = Room::new("tty; test -t 0 && test -t 2 && echo all") else { return };
    room.set("/process/terminal", json!(true));
    room.set("/process/consoleSize", json!({"width": 100, "height": 30}));
    let shown = text(&room.whole());
    assert!(shown.contains("/dev/") && shown.contains("all"), "{shown}");
    room.set("/process/terminal", json!(false));
    room.set("/process/args", json!(["sleep", "100"]));
    room.ok(&["create"]);
    room.ok(&["start"]);
    let shown = text(&room.exec(&["--tty"], "tty"));
    assert!(shown.contains("/dev/pts/"), "{shown}");
    room.ok(&["delete", "--force"]);
}

#[test]
fn exec_reads_a_process_document_and_detaches() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    let document = room.dir.join("process.json");
    let process = json!({"args": ["sh", "-c", "id -u > /tmp/who; sleep 50"], "cwd": "/tmp", "env": ["PATH=/bin"],
        "user": {"uid": 7, "gid": 7}});
    std::fs::write(&document, process.to_string()).expect("a document");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(room.rootfs().join("tmp"), open).expect("chmod");
    let pid_file = room.dir.join("exec.pid");
    let done = room.run(&[
        "exec",
        "--detach",
        "--pid-file",
        &pid_file.to_string_lossy(),
        "--process",
        &document.to_string_lossy(),
        &room.id,
    ]);
    assert!(done.status.success(), "{done:?}");
    let pid: u32 = std::fs::read_to_string(&pid_file).expect("a pid").parse().expect("a pid");
    lab::until("it runs", support::PATIENCE, || {
        std::fs::read_to_string(room.rootfs().join("tmp/who")).is_ok_and(|who| who == "7\n")
    });
    let listed = text(&room.run(&["ps", "--format", "json", &room.id]));
    assert!(listed.contains(&pid.to_string()), "{listed}");
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}

#[test]
fn exec_storm() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let room = &room;
            scope.spawn(move || {
                for round in 0..25 {
                    let word = format!("{worker}-{round}");
                    assert_eq!(text(&room.exec(&[], &format!("echo {word}"))), word);
                }
            });
        }
    });
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}

#[test]
fn no_signal_is_blocked_or_ignored() {
    let show = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"];
    let Some(mut room) = Room::new("") else { return };
    room.set("/process/args", json!(show));
    // This program waits for the process, so it has blocked signals for itself.
    let first = text(&room.run(&["run", &room.id]));
    assert_eq!(first.matches("0000000000000000").count(), 2, "{first}");

    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    let further = text(&room.run(&[&["exec", &room.id], &show[..]].concat()));
    assert_eq!(further.matches("0000000000000000").count(), 2, "{further}");
}

#[test]
fn what_the_kernel_would_refuse_at_the_start_is_told_at_creation() {
    let Some(mut room) = Room::new("true") else { return };
    let all = u64::MAX;
    room.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": all, "hard": all}]));
    let refused = room.run(&["create", &room.id]);
    assert!(errors(&refused).contains("process.rlimits[0]"), "{refused:?}");
    room.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]));
    room.set("/process/capabilities", json!({"inheritable": ["CAP_SYS_CHROOT"]}));
    let refused = room.run(&["create", &room.id]);
    assert!(errors(&refused).contains("CAP_SYS_CHROOT is not in bounding"), "{refused:?}");
    let odd = json!({"inheritable": ["CAP_SYS_CHROOT"], "bounding": ["CAP_SYS_CHROO"]});
    room.set("/process/capabilities", odd);
    let refused = room.run(&["create", &room.id]);
    assert!(errors(&refused).contains("unavailable capabilities: [CAP_SYS_CHROO]"), "{refused:?}");
    room.assert_gone();
    let both = json!({"inheritable": ["CAP_SYS_CHROOT"], "bounding": ["CAP_SYS_CHROOT"]});
    room.set("/process/capabilities", both);
    text(&room.whole());
}

#[test]
fn added_processes_can_be_put_in_groups_below_the_containers() {
    let Some(room) = Room::new("sleep 100") else { return };
    room.ok(&["create"]);
    room.ok(&["start"]);
    let groups = |flags: &[&str]| text(&room.exec(flags, "cat /proc/self/cgroup"));
    assert!(groups(&["--cgroup", "/"]).lines().all(|line| line.ends_with(":/")));
    for dir in room.groups() {
        std::fs::create_dir_all(dir.join("below/deep")).expect("a group");
        // A v1 cpuset without processors takes no process.
        for path in ["below", "below/deep"].map(|path| dir.join(path)) {
            for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|f| path.join(f).exists()) {
                let value = std::fs::read(dir.join(file)).expect("a set");
                std::fs::write(path.join(file), &value).expect("the same set");
            }
        }
    }
    let below = groups(&["--cgroup", "below/deep"]);
    assert!(below.lines().all(|line| line.ends_with(":/below/deep")), "{below}");
    if below.contains(":memory:") {
        let one = groups(&["--cgroup", "memory:below", "--cgroup", "pids:/below/deep"]);
        for line in one.lines() {
            let wanted = match line.split(':').nth(1) {
                Some("memory") => ":/below",
                Some("pids") => ":/below/deep",
                _ => ":/",
            };
            assert!(line.ends_with(wanted), "{one}");
        }
    }
    for (wish, words) in
        [("..", "bad sub cgroup path"), ("none", "No such file"), ("what:/", "unknown controller")]
    {
        let failed = errors(&room.exec(&["--cgroup", wish], "true"));
        assert!(failed.contains(words), "{wish}: {failed}");
    }
    room.ok(&["delete", "--force"]);
    room.assert_gone();
}

#[test]
fn resctrl_that_is_not_there_is_told() {
    let Some(mut room) = Room::new("true") else { return };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    if mounts.contains(" - resctrl ") {
        return lab::skip("a machine without resctrl: this one has it");
    }
    room.config["linux"]["intelRdt"] = json!({"closID": "gold", "schemata": ["L3:0=f"]});
    let failed = errors(&room.whole());
    assert!(failed.contains("linux.intelRdt") && failed.contains("no resctrl"), "{failed}");
    room.assert_gone();
}
