//! What a Kubernetes-like container's file system costs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "fails the test")]

mod container;

use container::{Bundle, Run, Who, bare};
use serde_json::json;
use std::time::{Duration, Instant};

/// Generous: the machine that runs the tests may be busy. The figure is what matters.
const LIMIT: Duration = Duration::from_millis(20);

fn kubernetes(bundle: &Bundle, who: Who) -> serde_json::Value {
    let etc = ["hosts", "hostname", "resolv.conf"];
    for file in etc {
        std::fs::write(bundle.0.join(file), "text").unwrap();
        std::fs::write(bundle.image("etc").join(file), "").unwrap();
    }
    std::fs::create_dir(bundle.0.join("token")).unwrap();
    let bind = |file: &str| {
        json!({"destination": format!("/etc/{file}"), "type": "bind",
        "source": file, "options": ["rbind", "rprivate", "rw"]})
    };
    let gid = if who == Who::Rootless { "mode=0620" } else { "gid=5" };
    let mounts = json!([
        {"destination": "/proc", "type": "proc", "source": "proc",
            "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", gid]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        bind("hosts"), bind("hostname"), bind("resolv.conf"),
        {"destination": "/var/run/secrets/kubernetes.io/serviceaccount", "type": "bind",
            "source": "token", "options": ["rbind", "rprivate", "ro"]},
    ]);
    let masked = [
        "asound",
        "acpi",
        "kcore",
        "keys",
        "latency_stats",
        "timer_list",
        "timer_stats",
        "sched_debug",
        "scsi",
    ];
    let mut masked: Vec<_> = masked.iter().map(|name| format!("/proc/{name}")).collect();
    masked.push("/sys/firmware".into());
    let read_only =
        ["bus", "fs", "irq", "sys", "sysrq-trigger"].map(|name| format!("/proc/{name}"));
    bare(who, mounts, json!({"maskedPaths": masked, "readonlyPaths": read_only}))
}

fn measure(who: Who) {
    let bundle = Bundle::new("bench");
    let config = kubernetes(&bundle, who);
    let mut times: Vec<[u64; 4]> = Vec::new();
    for _ in 0..40 {
        let run = Run::new(&bundle, who, config.clone());
        let answer = run.child(Box::new(|plan, prepared| {
            let start = Instant::now();
            let mut mounted = plan.mount(prepared)?;
            let made = start.elapsed();
            mounted.pivot()?;
            let changed = start.elapsed();
            mounted.finish()?;
            let all = start.elapsed();
            let parts = [made, changed - made, all - changed, all];
            Ok(parts.map(|part| part.as_micros().to_string()).join(" "))
        }));
        let answer = answer.unwrap();
        let numbers: Vec<u64> = answer.split(' ').map(|word| word.parse().unwrap()).collect();
        times.push(numbers.try_into().unwrap());
    }
    let median = |part: usize| {
        let mut part: Vec<_> = times.iter().map(|times| times[part]).collect();
        part.sort_unstable();
        part[part.len() / 2]
    };
    let [mount, pivot, finish, all] = [0, 1, 2, 3].map(median);
    #[allow(clippy::print_stderr, reason = "the figure is the point")]
    {
        eprintln!("{who:?}: mount {mount} us, pivot {pivot} us, finish {finish} us, all {all} us");
    }
    assert!(Duration::from_micros(all) < LIMIT);
}

#[test]
fn applying_a_kubernetes_like_container_as_root() {
    measure(Who::Root);
}

#[test]
fn applying_a_kubernetes_like_container_in_a_user_namespace() {
    measure(Who::User);
}
