//! `podloom stats`.

use super::args::Stats;
use super::daemon::{Daemon, fault};
use super::doc::short;
use crate::fault::Result;
use crate::image::bytes;
use crate::print::Table;
use cri_api::v1::{ContainerStats, ListContainerStatsRequest, UInt64Value};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// Between two looks at what processors did, when the daemon does not say how fast they are used.
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn show(daemon: &Daemon, wanted: &Stats) -> Result<()> {
    let mut ids = Vec::new();
    for name in &wanted.containers {
        ids.push(daemon.container(name).await?.id);
    }
    let first = list(daemon).await?;
    let mut stats = first.clone();
    if stats.iter().any(|one| rate(one).is_none()) {
        tokio::time::sleep(LOOK).await;
        stats = list(daemon).await?;
    }
    stats.retain(|one| ids.is_empty() || ids.iter().any(|id| id == id_of(one)));
    let before: HashMap<&str, &ContainerStats> =
        first.iter().map(|one| (id_of(one), one)).collect();
    let cores =
        |one: &ContainerStats| rate(one).or_else(|| between(before.get(id_of(one)).copied()?, one));
    let doc: Vec<Value> = stats.iter().map(|one| document(one, cores(one))).collect();
    daemon.print(&json!({ "containers": doc }), || {
        let mut table = Table::new(&["CONTAINER", "NAME", "CPU", "MEMORY", "WRITTEN", "INODES"]);
        for one in &stats {
            table.row(row(one, cores(one)));
        }
        if table.is_empty() { "no containers\n".to_owned() } else { table.text() }
    })
}

async fn list(daemon: &Daemon) -> Result<Vec<ContainerStats>> {
    let answer = daemon.runtime();
    let answer = { answer }.list_container_stats(ListContainerStatsRequest { filter: None }).await;
    Ok(answer.map_err(|status| fault("stats", &status))?.into_inner().stats)
}

fn id_of(stats: &ContainerStats) -> &str {
    stats.attributes.as_ref().map_or("", |attributes| &attributes.id)
}

fn value(value: Option<&UInt64Value>) -> Option<u64> {
    value.map(|value| value.value)
}

/// Billionths of a processor that are used now, as far as the daemon knows.
fn rate(stats: &ContainerStats) -> Option<u64> {
    value(stats.cpu.as_ref()?.usage_nano_cores.as_ref())
}

/// The same from two looks.
fn between(before: &ContainerStats, now: &ContainerStats) -> Option<u64> {
    let (before, now) = (before.cpu.as_ref()?, now.cpu.as_ref()?);
    let used = |usage: &cri_api::v1::CpuUsage| value(usage.usage_core_nano_seconds.as_ref());
    let (time, work) = (now.timestamp - before.timestamp, used(now)?.checked_sub(used(before)?)?);
    let time = u128::try_from(time).ok().filter(|time| *time > 0)?;
    u64::try_from(u128::from(work) * 1_000_000_000 / time).ok()
}

fn row(stats: &ContainerStats, cores: Option<u64>) -> Vec<String> {
    let metadata = stats.attributes.as_ref().and_then(|attributes| attributes.metadata.as_ref());
    let memory = stats.memory.as_ref().and_then(|memory| value(memory.working_set_bytes.as_ref()));
    let layer = stats.writable_layer.as_ref();
    let written = layer.and_then(|layer| value(layer.used_bytes.as_ref()));
    let inodes = layer.and_then(|layer| value(layer.inodes_used.as_ref()));
    vec![
        short(id_of(stats)),
        metadata.map_or(String::new(), |metadata| metadata.name.clone()),
        cores.map_or(String::new(), |cores| format!("{:.1} %", cores as f64 / 1e7)),
        memory.map_or(String::new(), bytes),
        written.map_or(String::new(), bytes),
        inodes.map_or(String::new(), |inodes| inodes.to_string()),
    ]
}

fn document(stats: &ContainerStats, cores: Option<u64>) -> Value {
    let attributes = stats.attributes.clone().unwrap_or_default();
    let cpu = stats.cpu.as_ref();
    let memory = stats.memory.as_ref();
    let layer = stats.writable_layer.as_ref();
    json!({
        "id": attributes.id,
        "name": attributes.metadata.unwrap_or_default().name,
        "cpu": {
            "usageNanoCores": cores,
            "usageCoreNanoSeconds":
                cpu.and_then(|cpu| value(cpu.usage_core_nano_seconds.as_ref())),
        },
        "memory": {
            "workingSetBytes": memory.and_then(|memory| value(memory.working_set_bytes.as_ref())),
            "usageBytes": memory.and_then(|memory| value(memory.usage_bytes.as_ref())),
            "rssBytes": memory.and_then(|memory| value(memory.rss_bytes.as_ref())),
        },
        "writableLayer": {
            "usedBytes": layer.and_then(|layer| value(layer.used_bytes.as_ref())),
            "inodesUsed": layer.and_then(|layer| value(layer.inodes_used.as_ref())),
        },
    })
}
