//! podloomd as a service of systemd, by the unit that ships: on a machine that is there for tests.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

use cri_api::v1;
use cri_tests::{BUSY, Client, Node, Service, UNIT, container, pod};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// There is one unit of the name.
static UNITS: Mutex<()> = Mutex::new(());

/// How long systemd may take for what it does by itself, on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that systemd serves, with a pod whose container counts into its log.
struct Served {
    // Dropped in this order.
    service: Service,
    node: Node,
    container: String,
    /// The container's process.
    process: Pid,
    _turn: MutexGuard<'static, ()>,
}

impl Served {
    fn new(name: &str) -> Option<Served> {
        let turn = UNITS.lock().unwrap_or_else(PoisonError::into_inner);
        let node = Node::prepare(name)?;
        let service = node.serve_by_systemd()?;
        // systemd was told when the daemon serves: nobody has to wait after `start`.
        std::os::unix::net::UnixStream::connect(node.socket()).expect("it serves");
        node.wait();
        let image = node.image(BUSY, "1");
        let script = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done";
        let (container, process) = node.run(async |client: &mut Client| {
            client.pull(&image).await;
            let of = pod(name);
            let pod = client.run_pod(&of).await.expect("run");
            let id = client.launch(&pod, &container("counts", &image, script), &of).await;
            let request = v1::ContainerStatusRequest { container_id: id.clone(), verbose: true };
            let status = client.runtime.container_status(request).await.expect("status");
            (id, process(&status.into_inner()))
        });
        Some(Served { service, node, container, process, _turn: turn })
    }

    /// The container goes on as the process that it was, and its output reaches the log.
    fn assert_goes_on(&self) {
        test_kill_process(self.process).expect("the container's process lives");
        let lines = |log: &str| std::fs::read_to_string(log).expect("log").lines().count();
        let log = self.log();
        let before = lines(&log);
        lab::until("the log grows", PATIENCE, || lines(&log) > before + 2);
    }

    /// As kubelet sees it, too.
    fn assert_is_known(&self) {
        self.node.wait();
        self.node.run(async |client: &mut Client| {
            let status = client.container(&self.container).await.expect("status");
            assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
            assert_eq!(client.says(&self.container, &["echo", "here"]).await, "here\n");
        });
    }

    fn log(&self) -> String {
        let dirs = lab::names(&self.node.path("logs"));
        let dir = dirs.first().expect("the pod's logs");
        self.node.path(&format!("logs/{dir}/counts.log")).display().to_string()
    }

    /// Ends the pod as kubelet does, and sees that nothing is left.
    fn end(self) {
        self.node.run(async |client: &mut Client| {
            let list = client.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await;
            for pod in list.expect("list").into_inner().items {
                client.remove_pod(&pod.id).await.expect("remove");
            }
        });
        assert_eq!(self.node.leftovers(), Vec::<String>::new());
    }
}

fn process(status: &v1::ContainerStatusResponse) -> Pid {
    let info: serde_json::Value = serde_json::from_str(&status.info["info"]).expect("JSON");
    let number = info["pid"].as_i64().and_then(|number| i32::try_from(number).ok());
    number.and_then(Pid::from_raw).unwrap_or_else(|| panic!("{info}"))
}

#[test]
fn pods_go_on_while_the_service_restarts_and_stops() {
    let Some(served) = Served::new("service-life") else { return };
    let service = &served.service;
    assert_eq!(service.property("ActiveState"), "active");
    let first = service.pid();
    service.ok(&["restart", UNIT]);
    assert_ne!(service.pid(), first);
    served.assert_is_known();
    served.assert_goes_on();

    service.ok(&["stop", UNIT]);
    assert_eq!((service.property("Result").as_str(), service.pid()), ("success", 0));
    assert!(!served.node.socket().exists());
    served.assert_goes_on();
    service.ok(&["start", UNIT]);
    served.assert_is_known();
    served.assert_goes_on();
    served.end();
}

#[test]
fn a_reload_is_one_of_the_daemon() {
    let Some(served) = Served::new("service-reload") else { return };
    let (service, first) = (&served.service, served.service.pid());
    served.node.write("config.d/10-level.toml", "[log]\nlevel = \"debug\"\n");
    service.ok(&["reload", UNIT]);
    let told = "the configuration was read again";
    lab::until("it is read", PATIENCE, || served.node.log().contains(told));
    lab::until("the service is itself again", PATIENCE, || {
        service.property("ActiveState") == "active"
    });
    assert_eq!(service.pid(), first);
    served.assert_is_known();
    served.end();
}

/// A supervisor that gives up leaves a node without pods: it starts the daemon again however often, and
/// one that hangs, too.
#[test]
fn a_daemon_that_dies_or_hangs_is_started_again() {
    let Some(served) = Served::new("service-again") else { return };
    let service = &served.service;
    let again = |before: i32| {
        lab::until("it is started again", PATIENCE, || {
            let now = service.pid();
            now != 0 && now != before && service.property("SubState") == "running"
        });
    };
    let signal = |pid: i32, signal| {
        kill_process(Pid::from_raw(pid).expect("a process"), signal).expect("signal");
    };
    // More often than systemd lets a unit without a word of its own start within ten seconds.
    for _ in 0..6 {
        let pid = service.pid();
        signal(pid, Signal::KILL);
        again(pid);
    }
    served.assert_is_known();
    service.drop_in("20-watchdog", "[Service]\nWatchdogSec=3\n");
    service.ok(&["restart", UNIT]);
    let pid = service.pid();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(service.pid(), pid, "it says that it is alive in time");
    signal(pid, Signal::STOP);
    again(pid);
    served.assert_is_known();
    served.assert_goes_on();
    served.end();
}

/// What ends one process of the service for want of memory leaves the others alone.
#[test]
fn shims_are_in_the_services_group_and_no_reason_to_end_it() {
    let Some(served) = Served::new("service-group") else { return };
    let service = &served.service;
    let group = format!("/sys/fs/cgroup{}", service.property("ControlGroup"));
    let group = std::path::Path::new(&group);
    let inside = std::fs::read_to_string(group.join("cgroup.procs"));
    let Ok(inside) = inside else {
        lab::skip("cgroup v2 alone is asked");
        return;
    };
    let shims = lab::shims(served.node.lab().root());
    assert!(!shims.is_empty());
    for shim in &shims {
        assert!(inside.lines().any(|pid| pid == shim.to_string()), "{shim} is not in {inside}");
    }
    let container = served.process.as_raw_nonzero().to_string();
    assert!(!inside.lines().any(|pid| pid == container), "{container} is in {inside}");
    assert_eq!(service.property("OOMPolicy"), "continue");
    assert_eq!(service.property("Delegate"), "yes");
    served.end();
}
