//! Debian's podman runs, enters, freezes, updates and kills containers of ours.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

use conformance::machine::have;
use oci_callers::Host;
use std::process::Output;

const CONTAINERS_CONF: &str = r#"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "ours"
[engine.runtimes]
ours = ["/opt/runtime"]
"#;

const NEEDED: &[&str] = &["podman", "conmon", "busybox", "unshare", "nsenter", "script"];

fn host(name: &str) -> Option<Host> {
    if !have(NEEDED) {
        return None;
    }
    let host = Host::new(name)?;
    let conf = host.dir("etc/containers/containers.conf");
    std::fs::create_dir_all(conf.parent().expect("a parent")).expect("etc/containers");
    std::fs::write(conf, CONTAINERS_CONF).expect("containers.conf");
    Some(host)
}

/// `podman run` with what each test needs.
fn run(host: &Host, options: &[&str], command: &[&str]) -> Output {
    let rootfs = host.busybox().to_string_lossy().into_owned();
    let parent = format!("--cgroup-parent={}", host.group());
    let mut args = vec!["run", "--network=none", "--log-driver=none", "--env=PATH=/bin", &parent];
    args.extend(options);
    args.extend(["--rootfs", &rootfs]);
    args.extend(command);
    host.exec("podman", &args)
}

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_container_runs_to_its_end() {
    let Some(host) = host("podman-run") else { return };
    assert_eq!(text(&run(&host, &["--rm"], &["echo", "hello"])), "hello");
    let ended = run(&host, &["--rm"], &["sh", "-c", "exit 42"]);
    assert_eq!(ended.status.code(), Some(42), "{}", String::from_utf8_lossy(&ended.stderr));
    let missing = run(&host, &["--rm"], &["no-such-program"]);
    assert_eq!(missing.status.code(), Some(127), "{}", String::from_utf8_lossy(&missing.stderr));
    host.assert_clean();
}

#[test]
fn options_reach_the_container() {
    let Some(host) = host("podman-options") else { return };
    let user = run(&host, &["--rm", "--user=1000:1000", "--group-add=2000"], &["id"]);
    assert_eq!(text(&user), "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)");
    let caps = run(&host, &["--rm", "--cap-drop=all"], &["grep", "^Cap", "/proc/self/status"]);
    let caps = text(&caps);
    assert_eq!(caps.matches("0000000000000000").count(), 5, "{caps}");
    let read_only = run(&host, &["--rm", "--read-only"], &["sh", "-c", "echo > /file"]);
    assert!(!read_only.status.success());
    let volume = host.lab.root().join("volume");
    std::fs::create_dir_all(&volume).expect("a volume");
    std::fs::write(volume.join("file"), "kept").expect("a file");
    let option = format!("--volume={}:/data:ro", volume.display());
    let shown = run(&host, &["--rm", &option, "--tmpfs=/t:size=1m"], &["cat", "/data/file"]);
    assert_eq!(text(&shown), "kept");
    let limited = run(
        &host,
        &["--rm", "--ulimit=nofile=77:88", "--ulimit=nproc=99:99"],
        &["grep", "open files", "/proc/self/limits"],
    );
    assert!(text(&limited).contains("77"), "{limited:?}");
    host.assert_clean();
}

#[test]
fn a_running_container_is_entered_frozen_updated_and_killed() {
    let Some(host) = host("podman-life") else { return };
    let options = ["--detach", "--name=c", "--memory=64m", "--pids-limit=50"];
    text(&run(&host, &options, &["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"]));
    let limit =
        || host.group_file("memory.limit_in_bytes").or_else(|| host.group_file("memory.max"));
    assert_eq!(limit().as_deref(), Some("67108864"));
    assert_eq!(host.group_file("pids.max").as_deref(), Some("50"));

    assert_eq!(host.sh("podman", &["exec", "c", "cat", "/proc/1/comm"]).trim(), "sh");
    let failed = host.exec("podman", &["exec", "c", "sh", "-c", "exit 3"]);
    assert_eq!(failed.status.code(), Some(3));
    let as_user = host
        .sh("podman", &["exec", "--user=1000", "--workdir=/tmp", "c", "sh", "-c", "id -u; pwd"]);
    assert_eq!(as_user, "1000\n/tmp\n");
    let terminal = host.sh("script", &["-qec", "podman exec -t c tty", "/dev/null"]);
    assert!(terminal.contains("/dev/pts/"), "{terminal}");

    host.sh("podman", &["pause", "c"]);
    assert_eq!(status(&host), "paused");
    host.sh("podman", &["unpause", "c"]);
    assert_eq!(status(&host), "running");

    host.sh("podman", &["update", "--memory=128m", "c"]);
    assert_eq!(limit().as_deref(), Some("134217728"));

    assert!(host.sh("podman", &["top", "c", "comm"]).contains("sh"));
    host.sh("podman", &["kill", "--signal=TERM", "c"]);
    assert_eq!(host.sh("podman", &["wait", "c"]).trim(), "7");
    host.sh("podman", &["rm", "--force", "--time=0", "c"]);
    host.assert_clean();
}

fn status(host: &Host) -> String {
    host.sh("podman", &["inspect", "--format={{.State.Status}}", "c"]).trim().to_owned()
}

#[test]
fn a_terminal_is_given() {
    let Some(host) = host("podman-terminal") else { return };
    let rootfs = host.busybox().to_string_lossy().into_owned();
    let command = format!(
        "podman run --rm -t --network=none --log-driver=none --env=PATH=/bin \
         --cgroup-parent={} --rootfs {rootfs} tty",
        host.group()
    );
    let shown = host.sh("script", &["-qec", &command, "/dev/null"]);
    assert!(shown.contains("/dev/console") || shown.contains("/dev/pts/0"), "{shown}");
    host.assert_clean();
}
