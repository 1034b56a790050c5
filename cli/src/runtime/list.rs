//! `podloom pods` and `podloom ps`.

use super::args::{Form, Pods, Ps};
use super::daemon::{Daemon, container_name, pod_name};
use super::doc::{age, container_state, pod_state, rfc3339, short};
use crate::fault::Result;
use crate::print::{self, Table};
use cri_api::v1::{Container, ContainerState, PodSandbox};
use serde_json::{Value, json};
use std::collections::HashMap;

pub(super) async fn pods(daemon: &Daemon, wanted: &Pods) -> Result<()> {
    let mut pods = daemon.list_pods().await?;
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.created_at));
    if let Some(namespace) = &wanted.namespace {
        pods.retain(|pod| pod_namespace(pod) == namespace);
    }
    if wanted.quiet && daemon.form() == Form::Table {
        return print::out(&pods.iter().map(|pod| format!("{}\n", pod.id)).collect::<String>());
    }
    let doc: Vec<Value> = pods.iter().map(pod_doc).collect();
    daemon.print(&json!({ "pods": doc }), || pod_table(&pods))
}

fn pod_namespace(pod: &PodSandbox) -> &str {
    pod.metadata.as_ref().map_or("", |metadata| &metadata.namespace)
}

fn pod_table(pods: &[PodSandbox]) -> String {
    let mut table = Table::new(&["POD", "NAMESPACE", "NAME", "STATE", "CREATED", "HANDLER"]);
    for pod in pods {
        table.row(vec![
            short(&pod.id),
            pod_namespace(pod).to_owned(),
            pod_name(pod).to_owned(),
            pod_state(pod.state).to_owned(),
            age(pod.created_at),
            pod.runtime_handler.clone(),
        ]);
    }
    if table.is_empty() { "no pods\n".to_owned() } else { table.text() }
}

fn pod_doc(pod: &PodSandbox) -> Value {
    let metadata = pod.metadata.clone().unwrap_or_default();
    json!({
        "id": pod.id,
        "name": metadata.name,
        "namespace": metadata.namespace,
        "uid": metadata.uid,
        "attempt": metadata.attempt,
        "state": pod_state(pod.state),
        "createdAt": rfc3339(pod.created_at),
        "runtimeHandler": pod.runtime_handler,
        "labels": pod.labels,
        "annotations": pod.annotations,
    })
}

pub(super) async fn containers(daemon: &Daemon, wanted: &Ps) -> Result<()> {
    let mut containers = daemon.list_containers().await?;
    containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    if let Some(name) = &wanted.pod {
        let pod = daemon.pod(name).await?.id;
        containers.retain(|container| container.pod_sandbox_id == pod);
    }
    if !wanted.all {
        containers.retain(|one| one.state == ContainerState::ContainerRunning as i32);
    }
    if wanted.quiet && daemon.form() == Form::Table {
        let ids = containers.iter().map(|container| format!("{}\n", container.id));
        return print::out(&ids.collect::<String>());
    }
    let pods = daemon.list_pods().await?.into_iter().map(|pod| (pod.id.clone(), pod)).collect();
    let doc: Vec<Value> = containers.iter().map(|one| container_doc(one, &pods)).collect();
    daemon.print(&json!({ "containers": doc }), || container_table(&containers, &pods))
}

type ById = HashMap<String, PodSandbox>;

fn pod_of<'a>(container: &Container, pods: &'a ById) -> &'a str {
    pods.get(&container.pod_sandbox_id).map_or("", pod_name)
}

fn container_table(containers: &[Container], pods: &ById) -> String {
    let mut table = Table::new(&["CONTAINER", "NAME", "STATE", "CREATED", "IMAGE", "POD"]);
    for container in containers {
        let image = container.image.as_ref();
        let named = image.map_or("", |image| match image.user_specified_image.as_str() {
            "" => &image.image,
            said => said,
        });
        table.row(vec![
            short(&container.id),
            container_name(container).to_owned(),
            container_state(container.state).to_owned(),
            age(container.created_at),
            named.to_owned(),
            format!("{} {}", short(&container.pod_sandbox_id), pod_of(container, pods)),
        ]);
    }
    if table.is_empty() { "no containers\n".to_owned() } else { table.text() }
}

fn container_doc(container: &Container, pods: &ById) -> Value {
    let metadata = container.metadata.clone().unwrap_or_default();
    json!({
        "id": container.id,
        "name": metadata.name,
        "attempt": metadata.attempt,
        "state": container_state(container.state),
        "createdAt": rfc3339(container.created_at),
        "image": container.image.as_ref().map(|image| &image.image),
        "imageRef": container.image_ref,
        "pod": container.pod_sandbox_id,
        "podName": pod_of(container, pods),
        "labels": container.labels,
        "annotations": container.annotations,
    })
}
