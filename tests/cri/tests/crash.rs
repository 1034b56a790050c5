//! The daemon is killed at any moment, shims are killed, the node is booted: nothing is lost, nothing
//! is left, nothing is stuck.
//!
//! `PODLOOM_KILLS` sets how often the daemon is killed; `./dev crash` has it 500 times.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "what these functions expect is what is tested; figures are for whoever runs them"
)]

use cri_api::v1;
use cri_tests::{BUSY, Chance, Client, Done, Moments, Node, churn, container, daemon, pod, port};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Kills of the daemon unless the environment says otherwise.
const KILLS: u64 = 40;

/// Clients that churn pods meanwhile.
const CLIENTS: u64 = 20;

/// Kills after which some pod has to have gone.
const STRIDE: u64 = 4;

/// Pods of the node that is restarted.
const PODS: usize = 200;

/// How soon their daemon serves again.
const SOON: Duration = Duration::from_millis(500);

fn kills() -> u64 {
    std::env::var("PODLOOM_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}

/// A node with the image, on which a pod has been: what stays of the first is there.
fn node(name: &str) -> Option<(Node, String)> {
    let node = Node::start(name)?;
    let image = node.image(BUSY, "1");
    node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let mut of = pod("first");
        of.port_mappings = vec![port(19_999, 80)];
        let id = client.run_pod(&of).await.expect("run");
        let first = client.launch(&id, &container("first", &image, "exit 1"), &of).await;
        assert_eq!(client.ended(&first).await.exit_code, 1);
        client.remove_pod(&id).await.expect("remove");
    });
    Some((node, image))
}

/// Nothing of any pod is there, and what was kept for its containers is given up.
fn assert_clean(node: &mut Node, image: &str, before: &[Vec<String>; 2]) {
    node.run(async |client: &mut Client| {
        let pods = client.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await;
        assert_eq!(pods.expect("pods").into_inner().items, []);
        let all = client.runtime.list_containers(v1::ListContainersRequest::default()).await;
        assert_eq!(all.expect("containers").into_inner().containers, []);
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
    let [snapshots, traces] = before;
    let complete = |all: Vec<String>| -> Vec<String> {
        all.into_iter().filter(|name| name.starts_with("snapshots/")).collect()
    };
    assert_eq!(complete(node.snapshots()), complete(snapshots.clone()), "of containers");
    assert_eq!(&node.traces(), traces, "links, rules and files of pods");
    // A lease that is left would keep the layers.
    node.run(async |client: &mut Client| {
        let image = Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() });
        let request = v1::RemoveImageRequest { image };
        client.images.remove_image(request).await.expect("remove the image");
    });
    assert!(node.stop(), "{}", node.log());
    // Nobody names what was half made or half removed: the operator's command takes it away.
    let mut prune = Command::new(daemon().with_file_name("podloom"));
    prune.args(["image", "--root"]).arg(node.path("lib")).arg("prune");
    let pruned = prune.output().expect("podloom beside podloomd");
    assert!(pruned.status.success(), "{}", String::from_utf8_lossy(&pruned.stderr));
    assert_eq!(node.snapshots(), Vec::<String>::new(), "layers that a lease keeps");
}

fn before(node: &Node) -> [Vec<String>; 2] {
    [node.snapshots(), node.traces()]
}

/// Kills the daemon so often, while it serves and while it starts, and has it serve in the end.
/// The longest time from a start to the first answer.
fn kill_often(node: &mut Node, moments: &Moments, goes_on: impl Fn() -> bool) -> Duration {
    let mut chance = Chance::new();
    let (mut longest, mut pods) = (Duration::ZERO, 0);
    for number in 0..kills() {
        std::thread::sleep(chance.time(Duration::from_millis(700)));
        // On a busy machine no pod might ever be finished between two kills.
        let is_due = number % STRIDE == STRIDE - 1;
        while (is_due && moments.pods() == pods || moments.is_client_starved()) && goes_on() {
            std::thread::sleep(Duration::from_millis(5));
        }
        if is_due {
            pods = moments.pods();
        }
        if !goes_on() {
            break;
        }
        moments.kill();
        node.kill();
        if chance.below(5) == 0 {
            node.begin();
            std::thread::sleep(chance.time(Duration::from_millis(80)));
            node.kill();
        }
        let begun = Instant::now();
        node.serve();
        longest = longest.max(begun.elapsed());
        moments.serve();
    }
    longest
}

#[test]
fn a_daemon_that_is_killed_again_and_again_loses_and_leaves_nothing() {
    let Some((mut node, image)) = node("crash-daemon") else { return };
    let before = before(&node);
    let (way, moments) = (node.way(), Arc::new(Moments::default()));
    moments.serve();
    let begun = Instant::now();
    let (done, longest) = std::thread::scope(|scope| {
        let clients = scope.spawn(|| churn(&way, (CLIENTS, &image), &moments));
        let longest = kill_often(&mut node, &moments, || !clients.is_finished());
        moments.end();
        let done: Done = clients.join().unwrap_or_else(|e| std::panic::resume_unwind(e));
        (done, longest)
    });
    eprintln!("{} kills in {:?}: {done:?}, longest start {longest:?}", kills(), begun.elapsed());
    assert!(done.pods >= CLIENTS && done.exits > CLIENTS / 2 && done.repeated > 0, "{done:?}");
    assert_clean(&mut node, &image, &before);
}

/// What a container is to end as: its own code, or that of one whose shim was killed.
fn assert_end(status: &v1::ContainerStatus, code: i32) {
    match (status.exit_code, status.reason.as_str()) {
        (137, "ShimLost") => assert!(status.message.contains("shim"), "{status:?}"),
        (128, "StartError") => {}
        (other, _) => assert_eq!(other, code, "{status:?}"),
    }
}

/// A pod comes and goes, whatever becomes of its shim.
async fn endangered(client: &mut Client, name: &str, image: &str) -> u64 {
    let of = pod(name);
    let Ok(id) = client.run_pod(&of).await else { return 0 };
    let mut ended = 0;
    for (name, script, code) in [("short", "sleep 0.1; exit 7", 7), ("long", "sleep 1000", 137)] {
        let Ok(made) = client.create(&id, &container(name, image, script), &of).await else {
            continue;
        };
        let started = client.start(&made).await.is_ok();
        if started && name == "long" {
            tokio::time::sleep(Duration::from_millis(50)).await;
            client.stop(&made, 0).await.expect("stop");
        }
        if started {
            assert_end(&client.ended(&made).await, code);
            ended += 1;
        }
    }
    client.stop_pod(&id).await.expect("stop the pod");
    client.remove_pod(&id).await.expect("remove the pod");
    ended
}

#[test]
fn shims_that_are_killed_take_their_containers_along_and_leave_nothing() {
    let Some((mut node, image)) = node("crash-shims") else { return };
    let before = before(&node);
    let (way, root) = (node.way(), node.lab().root().to_owned());
    let until = Instant::now() + Duration::from_secs(15);
    let (ended, killed) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let (way, image) = (way.clone(), image.as_str());
                scope.spawn(move || {
                    way.run(async |client: &mut Client| {
                        let (mut round, mut ended) = (0, 0);
                        while Instant::now() < until {
                            round += 1;
                            ended += endangered(client, &format!("s{number}-{round}"), image).await;
                        }
                        ended
                    })
                })
            })
            .collect();
        let (mut chance, mut killed) = (Chance::new(), 0);
        while Instant::now() < until {
            std::thread::sleep(chance.time(Duration::from_millis(500)));
            let shims = lab::shims(&root);
            let Some(pid) = shims.get(chance.below(shims.len() as u64) as usize) else { continue };
            let pid = rustix::process::Pid::from_raw(*pid).expect("a process");
            // One that has just ended is killed, too.
            killed += u32::from(
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok(),
            );
        }
        let join = |client: std::thread::ScopedJoinHandle<'_, u64>| {
            client.join().unwrap_or_else(|e| std::panic::resume_unwind(e))
        };
        (clients.into_iter().map(join).sum::<u64>(), killed)
    });
    eprintln!("{killed} shims were killed, {ended} containers ended");
    assert!(killed > 5 && ended > 5, "{killed} {ended}");
    assert_clean(&mut node, &image, &before);
}

#[test]
fn a_boot_ends_all_and_frees_all() {
    let Some((mut node, image)) = node("crash-boot") else { return };
    let of: Vec<_> = (0..4).map(|number| pod(&format!("boot-{number}"))).collect();
    let ids = node.run(async |client: &mut Client| {
        let mut ids = Vec::new();
        for of in &of {
            let id = client.run_pod(of).await.expect("run");
            let runs = client.launch(&id, &container("runs", &image, "sleep 1000"), of).await;
            let over = client.launch(&id, &container("over", &image, "exit 6"), of).await;
            assert_eq!(client.ended(&over).await.exit_code, 6);
            ids.push((id, runs, over));
        }
        ids
    });
    node.lose_power();
    node.serve_after_a_boot();
    let dir = node.lab().data_dir().join("podnet");
    let leases = || lab::names(&dir).iter().any(|name| name.starts_with("10.88."));
    lab::until("the addresses are free", Duration::from_secs(20), || !leases());
    node.run(async |client: &mut Client| {
        for (id, runs, over) in &ids {
            let status = client.pod(id).await.expect("pod").status.expect("status");
            assert_eq!(status.state(), v1::PodSandboxState::SandboxNotready);
            let status = client.container(runs).await.expect("status");
            assert_eq!((status.exit_code, status.reason.as_str()), (255, "Rebooted"));
            let status = client.container(over).await.expect("status");
            assert_eq!((status.exit_code, status.reason.as_str()), (6, "Error"));
        }
        // The next attempt of each pod, as kubelet makes it, and then the end of both.
        for (of, (id, ..)) in of.iter().zip(&ids) {
            let mut again = of.clone();
            again.metadata.get_or_insert_default().attempt = 1;
            let new = client.run_pod(&again).await.expect("the next attempt");
            let runs = client.launch(&new, &container("runs", &image, "exit 3"), &again).await;
            assert_eq!(client.ended(&runs).await.exit_code, 3);
            for id in [id, &new] {
                client.stop_pod(id).await.expect("stop");
                client.remove_pod(id).await.expect("remove");
            }
        }
    });
    assert_eq!(node.mounts(), Vec::<String>::new());
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

/// Pods with a container each, made by ten clients.
fn fill(node: &Node, image: &str) {
    let way = node.way();
    std::thread::scope(|scope| {
        for client in 0..10 {
            let way = way.clone();
            scope.spawn(move || {
                way.run(async |asked: &mut Client| {
                    for number in (client..PODS).step_by(10) {
                        let of = pod(&format!("many-{number}"));
                        let id = asked.run_pod(&of).await.expect("run");
                        asked.launch(&id, &container("main", image, "sleep 10000"), &of).await;
                    }
                });
            });
        }
    });
}

#[test]
fn a_daemon_of_two_hundred_pods_serves_half_a_second_after_its_start() {
    let Some((mut node, image)) = node("crash-many") else { return };
    fill(&node, &image);
    let mut best = Duration::MAX;
    for _ in 0..3 {
        node.kill();
        let begun = Instant::now();
        node.serve();
        let took = begun.elapsed();
        eprintln!("{PODS} pods: serving after {took:?}");
        best = best.min(took);
        node.run(async |client: &mut Client| {
            let pods = client.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await;
            let pods = pods.expect("pods").into_inner().items;
            let ready = |pod: &&v1::PodSandbox| pod.state() == v1::PodSandboxState::SandboxReady;
            assert_eq!(pods.iter().filter(ready).count(), PODS);
            let all = client.runtime.list_containers(v1::ListContainersRequest::default()).await;
            let all = all.expect("containers").into_inner().containers;
            let runs = |one: &&v1::Container| one.state() == v1::ContainerState::ContainerRunning;
            assert_eq!(all.iter().filter(runs).count(), PODS);
        });
    }
    // Programs that were built for speed, as those of `./dev test`, are held to the figure.
    let limit = if std::env::var_os("PODLOOM_BIN_DIR").is_some() { SOON } else { 10 * SOON };
    assert!(best <= limit, "{best:?}");
    node.run(async |client: &mut Client| {
        let pods = client.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await;
        for pod in pods.expect("pods").into_inner().items {
            client.remove_pod(&pod.id).await.expect("remove");
        }
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}
