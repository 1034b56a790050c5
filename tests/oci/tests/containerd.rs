//! Debian's containerd, through its runc shim, runs, enters, freezes, updates and kills containers
//! of ours.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

use conformance::machine::have;
use oci_callers::Host;
use std::fs::File;
use std::process::Child;
use std::time::Duration;

const SLOW: Duration = Duration::from_secs(20);

/// A child that is killed at the end of the test, at the latest.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn containerd(host: &Host) -> Daemon {
    let config = "version = 2\nroot = \"/var/lib/containerd\"\nstate = \"/run/containerd\"\n\
        disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
        [grpc]\naddress = \"/run/containerd/containerd.sock\"\n";
    std::fs::write(host.dir("etc/containerd-lab.toml"), config).expect("a configuration");
    let file = File::create(host.lab.tmp_dir().join("containerd.log")).expect("a log");
    let errors = file.try_clone().expect("a log");
    let mut command = host.command("containerd");
    command.args(["--config", "/etc/containerd-lab.toml"]).stdout(file).stderr(errors);
    let daemon = Daemon(command.spawn().expect("start containerd"));
    lab::until("containerd answers", SLOW, || host.exec("ctr", &["version"]).status.success());
    daemon
}

/// Starts a container in the background and waits until it runs.
fn start(host: &Host, name: &str, command: &[&str]) -> Daemon {
    let rootfs = host.busybox().to_string_lossy().into_owned();
    let cgroup = format!("{}/{name}", host.group());
    let mut args = vec!["run", "--rm", "--runc-binary", "/opt/runtime", "--cgroup", &cgroup];
    args.extend(["--memory-limit", "67108864", "--env", "PATH=/bin", "--rootfs", &rootfs, name]);
    args.extend(command);
    let log = File::create(host.lab.tmp_dir().join(format!("{name}.log"))).expect("a log");
    let mut started = host.command("ctr");
    started.args(&args).stdout(log.try_clone().expect("a log")).stderr(log);
    let child = Daemon(started.spawn().expect("start ctr"));
    lab::until("the container runs", SLOW, || status(host, name) == "RUNNING");
    child
}

fn status(host: &Host, name: &str) -> String {
    let listed = host.exec("ctr", &["task", "ls"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let line = listed.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.and_then(|line| line.split_whitespace().nth(2)).unwrap_or_default().to_owned()
}

/// Calls `Tasks.Update`, for which ctr has no command: gRPC by hand, over curl.
fn update(host: &Host, name: &str, resources: &str) {
    let field = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2];
        let len = bytes.len();
        assert!(len < 1 << 14, "two bytes of length are enough here");
        if len < 128 {
            out.push(u8::try_from(len).expect("small"));
        } else {
            out.extend([
                u8::try_from(len & 127).expect("7 bits") | 128,
                u8::try_from(len >> 7).expect("7 bits"),
            ]);
        }
        out.extend(bytes);
        out
    };
    let kind = b"types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    let any = [field(1, kind), field(2, resources.as_bytes())].concat();
    let message = [field(1, name.as_bytes()), field(2, &any)].concat();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let body = [&[0][..], &length, &message].concat();
    let path = host.lab.tmp_dir().join("update.grpc");
    std::fs::write(&path, body).expect("a message");
    let data = format!("@{}", path.display());
    let answer = host.exec(
        "curl",
        &[
            "--silent",
            "--show-error",
            "--verbose",
            "--http2-prior-knowledge",
            "--max-time",
            "20",
            "--unix-socket",
            "/run/containerd/containerd.sock",
            "--header",
            "content-type: application/grpc",
            "--header",
            "te: trailers",
            "--header",
            "containerd-namespace: default",
            "--data-binary",
            &data,
            "http://localhost/containerd.services.tasks.v1.Tasks/Update",
        ],
    );
    let told = String::from_utf8_lossy(&answer.stderr);
    assert!(told.contains("grpc-status: 0"), "{told}");
}

#[test]
fn a_container_of_the_shim_is_entered_frozen_updated_and_killed() {
    if !have(&["containerd", "ctr", "curl", "busybox", "unshare", "nsenter"]) {
        return;
    }
    let Some(host) = Host::new("containerd-life") else { return };
    let _daemon = containerd(&host);
    let mut child =
        start(&host, "c", &["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"]);
    let limit =
        || host.group_file("memory.limit_in_bytes").or_else(|| host.group_file("memory.max"));
    assert_eq!(limit().as_deref(), Some("67108864"));

    let exec = |id: &str, command: &[&str]| {
        let mut args = vec!["task", "exec", "--exec-id", id, "c"];
        args.extend(command);
        host.exec("ctr", &args)
    };
    let entered = exec("e1", &["cat", "/proc/1/comm"]);
    assert_eq!(String::from_utf8_lossy(&entered.stdout), "sh\n", "{entered:?}");
    assert_eq!(exec("e2", &["sh", "-c", "exit 3"]).status.code(), Some(3));
    let wrong = exec("e3", &["no-such-program"]);
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && told.contains("no-such-program"), "{told}");

    host.sh("ctr", &["task", "pause", "c"]);
    assert_eq!(status(&host, "c"), "PAUSED");
    host.sh("ctr", &["task", "resume", "c"]);
    assert_eq!(status(&host, "c"), "RUNNING");

    update(&host, "c", r#"{"memory":{"limit":134217728}}"#);
    assert_eq!(limit().as_deref(), Some("134217728"));
    assert!(host.sh("ctr", &["task", "metrics", "c"]).contains("memory"));
    assert!(host.sh("ctr", &["task", "ps", "c"]).lines().count() >= 2);

    host.sh("ctr", &["task", "kill", "--signal", "TERM", "c"]);
    let ended = child.0.wait().expect("wait for ctr");
    assert_eq!(ended.code(), Some(7));
    host.assert_clean();
}

#[test]
fn a_failed_start_is_told_and_leaves_nothing() {
    if !have(&["containerd", "ctr", "busybox", "unshare", "nsenter"]) {
        return;
    }
    let Some(host) = Host::new("containerd-fail") else { return };
    let _daemon = containerd(&host);
    let rootfs = host.busybox().to_string_lossy().into_owned();
    let cgroup = format!("{}/f", host.group());
    let args = [
        "run",
        "--rm",
        "--runc-binary",
        "/opt/runtime",
        "--cgroup",
        &cgroup,
        "--rootfs",
        &rootfs,
        "f",
        "/no/such",
    ];
    let failed = host.exec("ctr", &args);
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && told.contains("/no/such"), "{told}");
    host.assert_clean();
}
