//! Pods through the CRI: life, network, filters, failures.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

use cri_api::v1;
use cri_tests::{Client, Node, host_network, labelled, pod, port};
use tonic::Code;

async fn listed(client: &mut Client, filter: v1::PodSandboxFilter) -> Vec<String> {
    let request = v1::ListPodSandboxRequest { filter: Some(filter.clone()) };
    let items = client.runtime.list_pod_sandbox(request).await.expect("list").into_inner().items;
    let list: Vec<String> = items.into_iter().map(|pod| pod.id).collect();
    // The stream says the same.
    let request = v1::StreamPodSandboxesRequest { filter: Some(filter) };
    let stream = client.runtime.stream_pod_sandboxes(request).await.expect("stream");
    let mut stream = stream.into_inner();
    let mut streamed = Vec::new();
    while let Some(piece) = stream.message().await.expect("piece") {
        streamed.extend(piece.pod_sandboxes.into_iter().map(|pod| pod.id));
    }
    assert_eq!(list, streamed);
    list
}

#[test]
fn a_pod_lives_and_leaves_nothing() {
    let Some(node) = Node::start("pods-life") else { return };
    node.run(async |client: &mut Client| {
        let config = labelled(pod("life"), "app", "web");
        let id = client.run_pod(&config).await.expect("run");
        assert_eq!(id.len(), 64);
        let answer = client.pod(&id[..12]).await.expect("status by a short id");
        let status = answer.status.expect("status");
        assert_eq!(
            (status.id.as_str(), status.state()),
            (id.as_str(), v1::PodSandboxState::SandboxReady)
        );
        assert_eq!(status.metadata, config.metadata);
        assert_eq!(status.labels, config.labels);
        let network = status.network.expect("network");
        assert!(network.ip.starts_with("10.88."), "{network:?}");
        assert!(network.additional_ips[0].ip.starts_with("fd00:88:"), "{network:?}");
        let info: serde_json::Value = serde_json::from_str(&answer.info["info"]).expect("JSON");
        assert_eq!(info["attachments"][0]["network"], "podnet");
        assert!(answer.timestamp > 0 && answer.containers_statuses.is_empty());

        client.stop_pod(&id).await.expect("stop");
        client.stop_pod(&id).await.expect("stop again");
        let status = client.pod(&id).await.expect("status").status.expect("status");
        assert_eq!(status.state(), v1::PodSandboxState::SandboxNotready);
        assert_eq!(status.network.expect("network").ip, "");
        client.remove_pod(&id).await.expect("remove");
        client.remove_pod(&id).await.expect("remove again");
        client.stop_pod(&id).await.expect("stop what is removed");
        assert_eq!(client.pod(&id).await.expect_err("gone").code(), Code::NotFound);
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn lists_are_filtered() {
    let Some(node) = Node::start("pods-lists") else { return };
    node.run(async |client: &mut Client| {
        let web = client.run_pod(&labelled(pod("web"), "app", "web")).await.expect("run");
        let data = client.run_pod(&labelled(pod("data"), "app", "data")).await.expect("run");
        client.stop_pod(&data).await.expect("stop");
        let filter = |id: &str, state, app: Option<&str>| v1::PodSandboxFilter {
            id: id.to_owned(),
            state: state_value(state),
            label_selector: app.map(|app| ("app".to_owned(), app.to_owned())).into_iter().collect(),
        };
        assert_eq!(listed(client, filter("", None, None)).await, [data.clone(), web.clone()]);
        assert_eq!(
            listed(client, filter(&web[..10], None, None)).await,
            std::slice::from_ref(&web)
        );
        assert_eq!(
            listed(client, filter("", Some(v1::PodSandboxState::SandboxReady), None)).await,
            std::slice::from_ref(&web)
        );
        assert_eq!(
            listed(client, filter("", None, Some("data"))).await,
            std::slice::from_ref(&data)
        );
        assert_eq!(listed(client, filter(&web, None, Some("data"))).await, Vec::<String>::new());
        assert_eq!(listed(client, filter("ffff0000ffff", None, None)).await, Vec::<String>::new());
        for id in [web, data] {
            client.remove_pod(&id).await.expect("remove");
        }
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

fn state_value(state: Option<v1::PodSandboxState>) -> Option<v1::PodSandboxStateValue> {
    state.map(|state| v1::PodSandboxStateValue { state: state as i32 })
}

#[test]
fn a_repeated_request_is_told_so() {
    let Some(node) = Node::start("pods-names") else { return };
    node.run(async |client: &mut Client| {
        let config = pod("twice");
        let id = client.run_pod(&config).await.expect("run");
        let refused = client.run_pod(&config).await.expect_err("the name is taken");
        assert_eq!(refused.code(), Code::AlreadyExists, "{}", refused.message());
        client.remove_pod(&id).await.expect("remove");
        let again = client.run_pod(&config).await.expect("run again");
        assert_ne!(id, again);
        client.remove_pod(&again).await.expect("remove");
    });
}

#[test]
fn failures_have_the_codes_that_clients_expect() {
    let Some(node) = Node::start("pods-failures") else { return };
    node.run(async |client: &mut Client| {
        let request = v1::RunPodSandboxRequest::default();
        let refused = client.runtime.run_pod_sandbox(request).await.expect_err("no configuration");
        assert_eq!(refused.code(), Code::InvalidArgument);
        let mut nameless = pod("nameless");
        nameless.metadata = None;
        assert_eq!(client.run_pod_raw(nameless).await.code(), Code::InvalidArgument);
        let mut sysctl = pod("sysctl");
        let linux = sysctl.linux.get_or_insert_default();
        linux.sysctls.insert("kernel.core_pattern".to_owned(), "|/bin/sh".to_owned());
        assert_eq!(
            client.run_pod(&sysctl).await.expect_err("sysctl").code(),
            Code::InvalidArgument
        );
        let mut twice = pod("ports");
        twice.port_mappings = vec![port(70_000, 80)];
        assert_eq!(client.run_pod(&twice).await.expect_err("port").code(), Code::InvalidArgument);
        let request = v1::RunPodSandboxRequest {
            config: Some(pod("handler")),
            runtime_handler: "absent".to_owned(),
        };
        let refused = client.runtime.run_pod_sandbox(request).await.expect_err("no such handler");
        assert!(matches!(refused.code(), Code::InvalidArgument | Code::NotFound), "{refused:?}");
        let request = v1::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: "absent".to_owned(),
            ..Default::default()
        };
        let refused = client.runtime.update_pod_sandbox_resources(request).await;
        assert_eq!(refused.expect_err("no such pod").code(), Code::NotFound);
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn without_a_network_pods_wait_for_one() {
    let Some(node) = Node::start("pods-network") else { return };
    let list = node.path("conf/10-podnet.conflist");
    let text = std::fs::read_to_string(&list).expect("list");
    std::fs::remove_file(&list).expect("remove");
    node.run(async |client: &mut Client| {
        let condition = network_condition(client).await;
        assert!(!condition.status, "{condition:?}");
        assert!(!condition.reason.is_empty() && !condition.message.is_empty());
        let refused = client.run_pod(&pod("early")).await.expect_err("no network");
        assert_eq!(refused.code(), Code::Unavailable, "{}", refused.message());
        // One on the node's network needs none.
        let id = client.run_pod(&host_network(pod("host"))).await.expect("run");
        client.remove_pod(&id).await.expect("remove");
    });
    node.write("conf/10-podnet.conflist", &text);
    node.run(async |client: &mut Client| {
        assert!(network_condition(client).await.status);
        let id = client.run_pod(&pod("late")).await.expect("run");
        client.remove_pod(&id).await.expect("remove");
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

async fn network_condition(client: &mut Client) -> v1::RuntimeCondition {
    let answer = client.runtime.status(v1::StatusRequest { verbose: false }).await;
    let status = answer.expect("status").into_inner().status.expect("status");
    let mut conditions = status.conditions.into_iter();
    conditions.find(|condition| condition.r#type == "NetworkReady").expect("NetworkReady")
}

#[test]
fn new_resources_are_noted() {
    let Some(node) = Node::start("pods-resources") else { return };
    node.run(async |client: &mut Client| {
        let id = client.run_pod(&pod("resized")).await.expect("run");
        let request = v1::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: id.clone(),
            resources: Some(v1::LinuxContainerResources { cpu_shares: 512, ..Default::default() }),
            overhead: None,
        };
        client.runtime.update_pod_sandbox_resources(request).await.expect("update");
        client.remove_pod(&id).await.expect("remove");
    });
}
