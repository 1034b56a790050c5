//! The process that serves pods is killed at every step; shims are killed; the node is booted. Who
//! comes after finds every pod whole, or undoes it, and nothing is left behind.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod stage;

use sandbox::{Change, Kind, Sandboxes, State};
use stage::{Stage, pod, settings};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata};

/// Counts what is logged, and ends the process at one of the steps.
struct Killer {
    at: usize,
    seen: AtomicUsize,
}

impl tracing::Subscriber for Killer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("sandbox")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        if self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            let own = rustix::process::getpid();
            let _dead = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        }
    }

    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Not a test of its own: the process that the tests below kill.
#[test]
fn role_of_a_daemon() {
    let Some(root) = std::env::var_os("STAGE_ROOT").map(PathBuf::from) else { return };
    let at = std::env::var("STAGE_KILL_AT").ok().and_then(|at| at.parse().ok());
    let killer = Killer { at: at.unwrap_or(usize::MAX), seen: AtomicUsize::new(0) };
    tracing::subscriber::set_global_default(killer).expect("the only one");
    let role = std::env::var("STAGE_ROLE").expect("role");
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(async {
        let (pods, _) = Sandboxes::open(settings(&root)).await.expect("open");
        let id = match role.as_str() {
            "whole life" | "make" => pods.run(pod("p"), "").await.expect("run"),
            "none" => String::new(),
            _ => pods.list().first().map(|pod| pod.id().to_owned()).unwrap_or_default(),
        };
        if role == "whole life" || role == "end" {
            pods.stop(&id).await.expect("stop");
            pods.remove(&id).await.expect("remove");
        }
        pods.drain().await;
    });
}

/// Runs the role; whether it came to its end. Otherwise it was killed, as wished.
fn act(stage: &Stage, role: &str, kill_at: Option<usize>) -> bool {
    let root = stage.lab.root();
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(["--exact", "role_of_a_daemon"]).env("STAGE_ROOT", root);
    command.env("STAGE_ROLE", role).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(at) = kill_at {
        command.env("STAGE_KILL_AT", at.to_string());
    }
    let done = stage.lab.node().run(|| command.output()).expect("run the role");
    if done.status.success() {
        return true;
    }
    let text = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.signal(), Some(9), "{role} at {kill_at:?}: {text}");
    false
}

/// Takes up what is there, and removes all of it.
fn clear(stage: &Stage, what: &str) {
    stage.run(async {
        let (pods, recovered) = stage.open().await;
        assert!(recovered.errors.is_empty(), "{what}: {recovered:?}");
        for sandbox in pods.list() {
            if sandbox.state() == State::Ready {
                let shim = sandbox.shim().expect("a ready pod has a shim");
                assert!(shim.list().await.expect("it answers").is_empty());
                assert!(sandbox.namespaces().net.as_ref().expect("own").exists(), "{what}");
            } else {
                assert!(!sandbox.reason().is_empty(), "{what}: says why");
            }
            pods.stop(sandbox.id()).await.expect(what);
            pods.remove(sandbox.id()).await.expect(what);
        }
        // The name is free, whatever happened.
        let id = pods.run(pod("p"), "").await.expect(what);
        pods.remove(&id).await.expect(what);
        pods.drain().await;
    });
}

/// Kills `role` at each of its steps; `prepare` makes what it begins with. The number of steps.
fn kill_everywhere(role: &str, prepare: impl Fn(&Stage)) -> usize {
    let stage = Stage::new("crash");
    act(&stage, "whole life", None);
    let before = stage.snapshot();
    for at in 1.. {
        prepare(&stage);
        let ended = act(&stage, role, Some(at));
        clear(&stage, &format!("{role}, killed at step {at}"));
        stage.assert_clean(&before);
        if ended {
            return at;
        }
    }
    0
}

#[test]
fn a_kill_at_any_step_of_a_pods_life_leaks_nothing() {
    let steps = kill_everywhere("whole life", |_| {});
    assert!(steps > 20, "only {steps} steps");
}

#[test]
fn a_kill_while_an_earlier_kill_is_cleaned_up_leaks_nothing() {
    let steps = kill_everywhere("open", |stage| {
        // In the middle of making: everything there, nothing complete.
        assert!(!act(stage, "make", Some(12)));
    });
    assert!(steps > 3, "only {steps} steps");
}

#[test]
fn a_kill_at_any_step_of_the_end_leaks_nothing() {
    let steps = kill_everywhere("end", |stage| assert!(act(stage, "make", None)));
    assert!(steps > 10, "only {steps} steps");
}

#[test]
fn a_kill_at_any_moment_leaks_nothing() {
    let stage = Stage::new("moments");
    let begin = std::time::Instant::now();
    act(&stage, "whole life", None);
    let life = begin.elapsed();
    let before = stage.snapshot();
    const MOMENTS: u32 = 16;
    for moment in 0..MOMENTS {
        let mut command = Command::new(std::env::current_exe().expect("own path"));
        command.args(["--exact", "role_of_a_daemon"]).env("STAGE_ROOT", stage.lab.root());
        command.env("STAGE_ROLE", "whole life").stdout(Stdio::null()).stderr(Stdio::null());
        let mut daemon = stage.lab.node().run(|| command.spawn()).expect("run the role");
        std::thread::sleep(life * moment / MOMENTS);
        daemon.kill().expect("kill");
        daemon.wait().expect("wait");
        clear(&stage, &format!("killed after {moment}/{MOMENTS} of {life:?}"));
        stage.assert_clean(&before);
    }
}

#[test]
fn pods_go_on_while_nobody_serves_them() {
    let stage = Stage::new("restart");
    let before = stage.snapshot();
    assert!(act(&stage, "make", None));
    stage.run(async {
        let (pods, recovered) = stage.open().await;
        assert_eq!(recovered.ready.len(), 1, "{recovered:?}");
        let sandbox = pods.get(&recovered.ready[0]).expect("pod");
        assert_eq!(sandbox.state(), State::Ready);
        assert_eq!(sandbox.network().ips.len(), 2, "addresses are known");
        assert_eq!(sandbox.config(), &pod("p"));
        let again = pods.run(pod("p"), "").await.expect("the answer that was cut off, perhaps");
        assert_eq!(again, sandbox.id());
        let e = pods.run(pod("p"), "").await.expect_err("the name is taken");
        assert_eq!(e.kind(), Kind::AlreadyExists);
        pods.drain().await;
        assert!(sandbox.namespaces().net.as_ref().expect("own").exists(), "not collected");
        pods.remove(sandbox.id()).await.expect("remove");
    });
    stage.assert_clean(&before);
}

fn kill_shim(sandbox: &sandbox::Sandbox) {
    let pid = sandbox.shim().expect("shim").about().pid;
    let pid = rustix::process::Pid::from_raw(pid).expect("pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
}

#[test]
fn a_lost_shim_is_noticed_at_once() {
    let stage = Stage::new("shim");
    let before = stage.snapshot();
    stage.run(async {
        let (pods, _) = stage.open().await;
        let id = pods.run(pod("p"), "").await.expect("run");
        let sandbox = pods.get(&id).expect("pod");
        let mut events = pods.events();
        kill_shim(&sandbox);
        let event = tokio::time::timeout(Duration::from_secs(4), events.recv()).await;
        let event = event.expect("told in time").expect("told");
        assert!(
            matches!(&event.change, Change::ShimLost(why) if why.contains("shim")),
            "{event:?}"
        );
        assert_eq!((event.id, sandbox.state()), (id.clone(), State::NotReady));
        assert!(sandbox.reason().contains("shim"), "{}", sandbox.reason());
        assert_eq!(sandbox.shim().expect_err("lost").kind(), Kind::Precondition);
        pods.stop(&id).await.expect("stop");
        pods.remove(&id).await.expect("remove");
    });
    stage.assert_clean(&before);
}

#[test]
fn a_shim_lost_while_nobody_looked_is_told_at_the_start() {
    let stage = Stage::new("shim-lost");
    let before = stage.snapshot();
    assert!(act(&stage, "make", None));
    lab::end_shims(stage.lab.root());
    stage.run(async {
        let (pods, recovered) = stage.open().await;
        assert_eq!(recovered.not_ready.len(), 1, "{recovered:?}");
        let sandbox = pods.get(&recovered.not_ready[0]).expect("pod");
        assert!(sandbox.reason().contains("shim"), "{}", sandbox.reason());
        pods.remove(sandbox.id()).await.expect("remove");
    });
    stage.assert_clean(&before);
}

#[test]
fn a_frozen_shim_is_ended_by_force_and_delays_its_pod_alone() {
    let mut stage = Stage::new("frozen");
    stage.settings.shim_deadline = Duration::from_secs(4);
    stage.settings.kill_deadline = Duration::from_secs(1);
    let before = stage.snapshot();
    stage.run(async {
        let (pods, _) = stage.open().await;
        let id = pods.run(pod("p"), "").await.expect("run");
        let sandbox = pods.get(&id).expect("pod");
        let pid = sandbox.shim().expect("shim").about().pid;
        let pid = rustix::process::Pid::from_raw(pid).expect("pid");
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("stop");
        let (stopped, other) = tokio::join!(pods.stop(&id), async {
            let id = pods.run(pod("other"), "").await?;
            pods.remove(&id).await
        });
        stopped.expect("stop");
        other.expect("another pod");
        pods.remove(&id).await.expect("remove");
    });
    stage.assert_clean(&before);
}

/// Runs `work` in a process that sees another boot: the kernel's number of it is another one.
fn after_a_boot(stage: &Stage, role: &str) {
    let root = stage.lab.root();
    let fake = root.join("tmp/boot_id");
    std::fs::write(&fake, "00000000-1111-2222-3333-444444444444\n").expect("boot id");
    let script = format!(
        "mount --bind {} /proc/sys/kernel/random/boot_id && exec \"$0\" --exact role_of_a_daemon",
        fake.display()
    );
    let mut command = Command::new("unshare");
    // Its own mounts, so that the number changes for nobody else.
    command.args(["--mount", "--propagation", "slave", "sh", "-c", &script]);
    command.arg(std::env::current_exe().expect("own path"));
    command.env("STAGE_ROOT", root).env("STAGE_ROLE", role);
    let done = stage.lab.node().run(|| command.output()).expect("run the role");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// What a boot takes away: processes, mounts, links, all that is in memory.
fn boot(stage: &Stage) {
    lab::end_shims(stage.lab.root());
    lab::unmount_below(stage.lab.root());
    for dir in [&stage.settings.run_dir, &stage.settings.netns_dir] {
        std::fs::remove_dir_all(dir).expect("memory");
    }
}

#[test]
fn a_boot_ends_pods_and_frees_what_they_held() {
    let stage = Stage::new("boot");
    let before = stage.snapshot();
    assert!(act(&stage, "make", None));
    assert_eq!(stage.leases().len(), 2);
    boot(&stage);
    // It opens, and ends when everything that goes on without a caller is done.
    after_a_boot(&stage, "open");
    assert_eq!(stage.leases(), Vec::<String>::new(), "freed without a request");
    stage.run(async {
        let (pods, recovered) = stage.open().await;
        assert_eq!(recovered.not_ready.len(), 1, "{recovered:?}");
        let sandbox = pods.get(&recovered.not_ready[0]).expect("pod");
        assert!(sandbox.reason().contains("booted"), "{}", sandbox.reason());
        pods.stop(sandbox.id()).await.expect("stop");
        pods.remove(sandbox.id()).await.expect("remove");
    });
    stage.assert_clean(&before);
}

#[test]
fn a_pod_whose_attachment_was_forgotten_is_detached_all_the_same() {
    let stage = Stage::new("forgotten");
    let before = stage.snapshot();
    assert!(act(&stage, "make", None));
    std::fs::remove_dir_all(stage.lab.cache_dir().join("results")).expect("remove");
    assert!(act(&stage, "end", None));
    stage.assert_clean(&before);
}

#[test]
fn half_written_records_are_undone() {
    for (number, broken) in ["", "plmsbx1\n", "garbage"].into_iter().enumerate() {
        for file in ["record", "status"] {
            let stage = Stage::new(&format!("cut-{number}-{file}"));
            let before = stage.snapshot();
            assert!(act(&stage, "make", None));
            let dir = stage.settings.state_dir.join("sandboxes");
            let pod = std::fs::read_dir(&dir).expect("list").next().expect("a pod").expect("entry");
            std::fs::write(pod.path().join(file), broken).expect("write");
            stage.run(async {
                let (pods, recovered) = stage.open().await;
                assert_eq!(recovered.undone.len(), 1, "{file} {broken:?}: {recovered:?}");
                assert!(pods.list().is_empty());
                pods.drain().await;
            });
            stage.assert_clean(&before);
        }
    }
}

#[test]
fn a_hanging_plugin_does_not_hold_up_the_start() {
    let stage = Stage::new("slow-start");
    let flag = stage.lab.root().join("tmp/hang");
    let text = format!(
        r#"case $CNI_COMMAND in
        ADD) echo '{{"cniVersion":"1.1.0","ips":[{{"address":"10.88.0.9/16"}}]}}';;
        DEL) if [ -e {} ]; then sleep 100; fi;; esac"#,
        flag.display()
    );
    stage.script("last", &text);
    let mut list = stage.network("podnet", "10.88.0.0/16");
    let plugins = list["plugins"].as_array_mut().expect("plugins");
    plugins.push(serde_json::json!({"type": "last"}));
    stage.write_network("10-podnet.conflist", &list);
    let before = stage.snapshot();
    assert!(act(&stage, "make", None));
    let dir = stage.settings.state_dir.join("sandboxes");
    let pod_dir = std::fs::read_dir(&dir).expect("list").next().expect("pod").expect("entry");
    std::fs::remove_file(pod_dir.path().join("status")).expect("half made");
    std::fs::write(&flag, "").expect("flag");
    stage.run(async {
        let begin = std::time::Instant::now();
        let (pods, recovered) = stage.open().await;
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
        let told = recovered.errors.first().expect("told").to_string();
        assert!(told.contains("CNI DEL last"), "{told}");
        std::fs::remove_file(&flag).expect("flag");
        let id = pods.run(pod("other"), "").await.expect("others go on");
        pods.remove(&id).await.expect("remove");
        // The hanging call is killed at its deadline; the next attempt succeeds.
        pods.drain().await;
        pods.collect().await.expect("collect");
    });
    stage.assert_clean(&before);
}

#[test]
fn lost_records_are_collected() {
    let stage = Stage::new("lost");
    let before = stage.snapshot();
    assert!(act(&stage, "make", None));
    // As after a loss of power: neither pod nor attachment is on disk any more.
    boot(&stage);
    for dir in [stage.settings.state_dir.clone(), stage.lab.cache_dir().join("results")] {
        std::fs::remove_dir_all(dir).expect("remove");
    }
    assert_eq!(stage.leases().len(), 2, "only host-local knows");
    after_a_boot(&stage, "none");
    stage.assert_clean(&before);
}
