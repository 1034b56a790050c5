//! What is asked of the node as a whole, and what is told without being asked: status, events,
//! statistics, metrics, URLs of streams.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

use cri_api::v1;
use cri_tests::{BUSY, Client, Node, container, pod};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn the_node_says_what_it_is() {
    let Some(node) = Node::start("node-status") else { return };
    node.run(async |client: &mut Client| {
        let version = client.runtime.version(v1::VersionRequest::default()).await;
        let version = version.expect("version").into_inner();
        assert_eq!(
            (version.runtime_name.as_str(), version.runtime_api_version.as_str()),
            ("podloom", "v1")
        );
        assert!(!version.runtime_version.is_empty());
        let answer = client.runtime.status(v1::StatusRequest { verbose: true }).await;
        let answer = answer.expect("status").into_inner();
        let conditions = answer.status.expect("status").conditions;
        let kinds: Vec<_> = conditions.iter().map(|c| (c.r#type.as_str(), c.status)).collect();
        assert_eq!(kinds, [("RuntimeReady", true), ("NetworkReady", true)]);
        assert!(answer.runtime_handlers.iter().any(|handler| handler.name.is_empty()));
        let config: serde_json::Value = serde_json::from_str(&answer.info["config"]).expect("JSON");
        assert_eq!(config["containers"]["cgroup_driver"], "cgroupfs");
        let config = client.runtime.runtime_config(v1::RuntimeConfigRequest {}).await;
        let linux = config.expect("configuration").into_inner().linux.expect("linux");
        assert_eq!(linux.cgroup_driver(), v1::CgroupDriver::Cgroupfs);
        let network_config = Some(v1::NetworkConfig { pod_cidr: "10.0.0.0/24".to_owned() });
        let runtime_config = Some(v1::RuntimeConfig { network_config });
        let request = v1::UpdateRuntimeConfigRequest { runtime_config };
        client.runtime.update_runtime_config(request).await.expect("accepted");
    });
}

#[test]
fn events_tell_a_whole_life_in_order() {
    let Some(node) = Node::start("node-events") else { return };
    let image = node.image(BUSY, "1");
    node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let stream = client.runtime.get_container_events(v1::GetEventsRequest {}).await;
        let mut stream = stream.expect("stream").into_inner();
        let of = pod("events");
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.launch(&pod, &container("main", &image, "exit 5"), &of).await;
        client.ended(&id).await;
        client.remove(&id).await.expect("remove");
        client.remove_pod(&pod).await.expect("remove");
        let mut seen = Vec::new();
        let mut exits = Vec::new();
        while !seen.contains(&("pod", v1::ContainerEventType::ContainerDeletedEvent)) {
            let event = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
            let event = event.expect("in time").expect("event").expect("one more");
            let whose = if event.container_id == id { "container" } else { "pod" };
            let status = event.pod_sandbox_status.as_ref().expect("the pod");
            assert_eq!(status.id, pod);
            assert!(event.created_at > 0);
            let statuses = event.containers_statuses.iter();
            exits.extend(statuses.filter(|one| one.finished_at > 0).map(|one| one.exit_code));
            seen.push((whose, event.container_event_type()));
        }
        use v1::ContainerEventType as Type;
        let wanted = [
            ("pod", Type::ContainerCreatedEvent),
            ("pod", Type::ContainerStartedEvent),
            ("container", Type::ContainerCreatedEvent),
            ("container", Type::ContainerStartedEvent),
            ("container", Type::ContainerStoppedEvent),
            ("container", Type::ContainerDeletedEvent),
            ("pod", Type::ContainerStoppedEvent),
            ("pod", Type::ContainerDeletedEvent),
        ];
        let of_pod = |list: &[(&str, Type)]| {
            list.iter().filter(|one| one.0 == "pod").map(|one| one.1).collect::<Vec<_>>()
        };
        let of_container = |list: &[(&str, Type)]| {
            list.iter().filter(|one| one.0 != "pod").map(|one| one.1).collect::<Vec<_>>()
        };
        assert_eq!(of_pod(&seen), of_pod(&wanted));
        assert_eq!(of_container(&seen), of_container(&wanted));
        assert!(exits.contains(&5), "{exits:?}");
    });
}

#[test]
fn usage_of_pods_and_containers_is_told() {
    let Some(node) = Node::start("node-stats") else { return };
    let image = node.image(BUSY, "1");
    node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let of = pod("stats");
        let pod = client.run_pod(&of).await.expect("run");
        let script =
            "dd if=/dev/zero of=/tmp/file bs=1M count=3 2>/dev/null; while true; do :; done";
        let id = client.launch(&pod, &container("busy", &image, script), &of).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let request = v1::ContainerStatsRequest { container_id: id.clone() };
        let stats = client.runtime.container_stats(request).await.expect("stats").into_inner();
        let stats = stats.stats.expect("stats");
        assert_eq!(stats.attributes.expect("attributes").id, id);
        let cpu = stats.cpu.expect("processor");
        assert!(
            cpu.timestamp > 0 && cpu.usage_core_nano_seconds.expect("time").value > 100_000_000
        );
        assert!(cpu.usage_nano_cores.expect("rate").value > 10_000_000);
        let memory = stats.memory.expect("memory");
        assert!(memory.usage_bytes.expect("usage").value > 0);
        assert!(memory.working_set_bytes.expect("working set").value > 0);

        let layer = async |client: &mut Client| {
            let request = v1::ListContainerStatsRequest { filter: None };
            let list =
                client.runtime.list_container_stats(request).await.expect("list").into_inner();
            assert_eq!(list.stats.len(), 1);
            list.stats[0]
                .writable_layer
                .as_ref()
                .and_then(|layer| layer.used_bytes)
                .map(|v| v.value)
        };
        let mut size = None;
        for _ in 0..100 {
            size = layer(client).await;
            if size.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(size.expect("measured meanwhile") > 2 << 20, "{size:?}");

        of_pods(client, &pod).await;
        client.remove_pod(&pod).await.expect("remove");
    });
}

/// Figures of the only pod, which has one container.
async fn of_pods(client: &mut Client, pod: &str) {
    let filter = v1::PodSandboxStatsFilter { id: pod.to_owned(), ..Default::default() };
    let request = v1::ListPodSandboxStatsRequest { filter: Some(filter) };
    let list = client.runtime.list_pod_sandbox_stats(request).await.expect("list").into_inner();
    let linux = list.stats[0].linux.as_ref().expect("linux");
    assert!(
        linux.cpu.as_ref().expect("processor").usage_core_nano_seconds.expect("time").value > 0
    );
    let default = linux.network.as_ref().expect("network").default_interface.as_ref();
    assert_eq!(default.expect("eth0").name, "eth0");
    assert_eq!(linux.containers.len(), 1);
    assert!(linux.process.as_ref().expect("processes").process_count.expect("count").value >= 1);
    let request = v1::PodSandboxStatsRequest { pod_sandbox_id: pod.to_owned() };
    client.runtime.pod_sandbox_stats(request).await.expect("stats");
    let request = v1::StreamPodSandboxStatsRequest { filter: None };
    let stream = client.runtime.stream_pod_sandbox_stats(request).await.expect("stream");
    let piece = stream.into_inner().message().await.expect("piece").expect("one");
    assert_eq!(piece.pod_sandbox_stats.len(), 1);
    let request = v1::StreamContainerStatsRequest { filter: None };
    let stream = client.runtime.stream_container_stats(request).await.expect("stream");
    let piece = stream.into_inner().message().await.expect("piece").expect("one");
    assert_eq!(piece.container_stats.len(), 1);
}

#[test]
fn metrics_are_those_that_are_described() {
    let Some(node) = Node::start("node-metrics") else { return };
    let image = node.image(BUSY, "1");
    node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let of = pod("metrics");
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.launch(&pod, &container("main", &image, "sleep 1000"), &of).await;
        let described = client.runtime.list_metric_descriptors(v1::ListMetricDescriptorsRequest {});
        let described = described.await.expect("descriptors").into_inner().descriptors;
        let metrics = client.runtime.list_pod_sandbox_metrics(v1::ListPodSandboxMetricsRequest {});
        let metrics = metrics.await.expect("metrics").into_inner().pod_metrics;
        assert_eq!((metrics.len(), metrics[0].pod_sandbox_id.as_str()), (1, pod.as_str()));
        let of_container = &metrics[0].container_metrics[0];
        assert_eq!(of_container.container_id, id);
        let all: Vec<_> = metrics[0].metrics.iter().chain(&of_container.metrics).collect();
        for metric in &all {
            let of = described.iter().find(|one| one.name == metric.name);
            let keys =
                of.unwrap_or_else(|| panic!("{} is not described", metric.name)).label_keys.len();
            assert_eq!(keys, metric.label_values.len(), "{}", metric.name);
        }
        let names: BTreeSet<_> = all.iter().map(|metric| metric.name.as_str()).collect();
        for wanted in [
            "container_cpu_usage_seconds_total",
            "container_memory_working_set_bytes",
            "container_network_receive_bytes_total",
            "container_threads",
            "container_processes",
            "container_file_descriptors",
            "container_start_time_seconds",
            "container_fs_inodes_total",
        ] {
            assert!(names.contains(wanted), "{wanted} is missing in {names:?}");
        }
        let stream =
            client.runtime.stream_pod_sandbox_metrics(v1::StreamPodSandboxMetricsRequest {});
        let piece = stream.await.expect("stream").into_inner().message().await.expect("piece");
        assert_eq!(piece.expect("one").pod_sandbox_metrics.len(), 1);
        client.remove_pod(&pod).await.expect("remove");
    });
}

#[test]
fn streams_have_urls_that_nobody_guesses() {
    let Some(node) = Node::start("node-urls") else { return };
    let image = node.image(BUSY, "1");
    node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let of = pod("urls");
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.launch(&pod, &container("main", &image, "sleep 1000"), &of).await;
        let request = v1::ExecRequest {
            container_id: id.clone(),
            cmd: vec!["true".to_owned()],
            stdout: true,
            ..Default::default()
        };
        let exec = client.runtime.exec(request.clone()).await.expect("exec").into_inner().url;
        let other = client.runtime.exec(request).await.expect("exec").into_inner().url;
        let request = v1::AttachRequest { container_id: id, stdout: true, ..Default::default() };
        let attach = client.runtime.attach(request).await.expect("attach").into_inner().url;
        let request = v1::PortForwardRequest { pod_sandbox_id: pod.clone(), port: vec![80] };
        let forward = client.runtime.port_forward(request).await.expect("forward").into_inner().url;
        for (url, verb) in [(&exec, "exec"), (&attach, "attach"), (&forward, "portforward")] {
            let rest = url.strip_prefix("http://127.0.0.1:").expect(url);
            let (_, path) = rest.split_once('/').expect(url);
            let token = path.strip_prefix(verb).and_then(|path| path.strip_prefix('/')).expect(url);
            assert!(token.len() >= 22, "{url}");
        }
        assert_ne!(exec, other);
        client.remove_pod(&pod).await.expect("remove");
    });
}
