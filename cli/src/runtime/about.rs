//! `podloom inspect`, `events`, `version` and `info`.

use super::args::{Events, Form, Inspect};
use super::daemon::{Daemon, Named, fault};
use super::doc;
use crate::fault::{Fault, Result};
use crate::print::{self, Table};
use cri_api::v1::{
    ContainerEventResponse, ContainerEventType, ContainerStatusRequest, GetEventsRequest,
    PodSandboxStatusRequest, StatusRequest, VersionRequest,
};
use serde_json::{Value, json};

pub(super) async fn inspect(daemon: &Daemon, wanted: &Inspect) -> Result<()> {
    let mut found = Vec::new();
    for name in &wanted.names {
        found.push(match daemon.named(name).await? {
            Named::Container(container) => self::container(daemon, container.id).await?,
            Named::Pod(pod) => self::pod(daemon, pod.id).await?,
        });
    }
    // There is no table of what is nested so deep.
    match daemon.form() {
        Form::Yaml => print::yaml(&Value::from(found)),
        Form::Table | Form::Json => print::json(&Value::from(found)),
    }
}

async fn container(daemon: &Daemon, id: String) -> Result<Value> {
    let request = ContainerStatusRequest { container_id: id.clone(), verbose: true };
    let answer = daemon.runtime().container_status(request).await;
    let answer = answer.map_err(|status| fault(&id, &status))?.into_inner();
    let mut found = doc::container(&answer.status.unwrap_or_default());
    found["info"] = doc::info(&answer.info);
    Ok(found)
}

async fn pod(daemon: &Daemon, id: String) -> Result<Value> {
    let request = PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: true };
    let answer = daemon.runtime().pod_sandbox_status(request).await;
    let answer = answer.map_err(|status| fault(&id, &status))?.into_inner();
    let mut found = doc::pod(&answer.status.unwrap_or_default());
    found["info"] = doc::info(&answer.info);
    Ok(found)
}

pub(super) async fn events(daemon: &Daemon, wanted: &Events) -> Result<()> {
    let stream = daemon.runtime().get_container_events(GetEventsRequest {}).await;
    let mut stream = stream.map_err(|status| fault("events", &status))?.into_inner();
    let mut left = wanted.count.unwrap_or(usize::MAX);
    while left > 0 {
        let event = stream.message().await.map_err(|status| fault("events", &status))?;
        let Some(event) = event else {
            return Err(Fault::new(9, "events", "the daemon ended them"));
        };
        left -= 1;
        // One line each in every form: a document that has no end cannot be read.
        match daemon.form() {
            Form::Table => print::out(&event_line(&event))?,
            Form::Json => print::out(&format!("{}\n", event_doc(&event)))?,
            Form::Yaml => {
                print::out("---\n")?;
                print::yaml(&event_doc(&event))?;
            }
        }
    }
    Ok(())
}

fn event_kind(event: &ContainerEventResponse) -> &'static str {
    match ContainerEventType::try_from(event.container_event_type) {
        Ok(ContainerEventType::ContainerCreatedEvent) => "created",
        Ok(ContainerEventType::ContainerStartedEvent) => "started",
        Ok(ContainerEventType::ContainerStoppedEvent) => "stopped",
        Ok(ContainerEventType::ContainerDeletedEvent) => "deleted",
        Err(_) => "unknown",
    }
}

fn event_line(event: &ContainerEventResponse) -> String {
    let pod = event.pod_sandbox_status.clone().unwrap_or_default();
    let metadata = pod.metadata.unwrap_or_default();
    let when = doc::rfc3339(event.created_at);
    let pod = format!("{}/{}", metadata.namespace, metadata.name);
    let what = event_kind(event);
    format!("{}  {what:<8}  {}  {pod}\n", when.as_str().unwrap_or("-"), event.container_id)
}

fn event_doc(event: &ContainerEventResponse) -> Value {
    json!({
        "at": doc::rfc3339(event.created_at),
        "event": event_kind(event),
        "id": event.container_id,
        "pod": event.pod_sandbox_status.as_ref().map(doc::pod),
        "containers": event.containers_statuses.iter().map(doc::container).collect::<Vec<_>>(),
    })
}

pub(super) async fn version(daemon: &Daemon) -> Result<()> {
    let request = VersionRequest { version: "v1".to_owned() };
    let answer = daemon.runtime().version(request).await;
    let said = answer.map_err(|status| fault("version", &status))?.into_inner();
    let own = env!("CARGO_PKG_VERSION");
    let doc = json!({
        "client": own,
        "runtime": said.runtime_name,
        "version": said.runtime_version,
        "apiVersion": said.runtime_api_version,
    });
    daemon.print(&doc, || {
        let (name, version, api) =
            (said.runtime_name, said.runtime_version, said.runtime_api_version);
        format!("podloom {own}\n{name} {version}, CRI {api}\n")
    })
}

pub(super) async fn info(daemon: &Daemon) -> Result<()> {
    let answer = daemon.runtime().status(StatusRequest { verbose: true }).await;
    let said = answer.map_err(|status| fault("status", &status))?.into_inner();
    let conditions = said.status.unwrap_or_default().conditions;
    let handlers = said.runtime_handlers;
    let features = |handler: &cri_api::v1::RuntimeHandler| {
        let features = handler.features.unwrap_or_default();
        json!({
            "name": handler.name,
            "recursiveReadOnlyMounts": features.recursive_read_only_mounts,
            "userNamespaces": features.user_namespaces,
        })
    };
    let doc = json!({
        "conditions": conditions.iter().map(|one| json!({
            "type": one.r#type, "status": one.status, "reason": one.reason, "message": one.message,
        })).collect::<Vec<_>>(),
        "runtimeHandlers": handlers.iter().map(features).collect::<Vec<_>>(),
        "info": doc::info(&said.info),
    });
    daemon.print(&doc, || {
        let mut table = Table::new(&["CONDITION", "MET", "REASON", "MESSAGE"]);
        for one in &conditions {
            let met = if one.status { "yes" } else { "no" }.to_owned();
            table.row(vec![one.r#type.clone(), met, one.reason.clone(), one.message.clone()]);
        }
        let names: Vec<_> = handlers.iter().map(|one| format!("{:?}", one.name)).collect();
        format!("{}handlers: {}\n", table.text(), names.join(", "))
    })
}
