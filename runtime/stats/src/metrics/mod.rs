//! Metrics by the names that cAdvisor gave them, for `ListPodSandboxMetrics`.

mod table;
mod values;

use crate::network;
use crate::service::Shared;
use ::container::Container;
use cri_api::v1::{ContainerMetrics, Metric, MetricDescriptor, PodSandboxMetrics};
use sandbox::Sandbox;
use std::sync::Arc;
use table::{BASE, Name};

/// The labels that every metric has, for one pod or container.
#[derive(Clone, Debug)]
struct Labels {
    /// In the order of [`BASE`].
    base: [String; BASE.len()],
    at: i64,
}

/// Metrics as they are collected.
#[derive(Debug)]
struct Collected {
    labels: Labels,
    all: Vec<Metric>,
}

impl Collected {
    /// Adds a value with the labels beyond those that every metric has.
    fn add(&mut self, name: Name, more: &[&str], value: u64) {
        let described = name.described();
        let base = self.labels.base.iter().cloned();
        self.all.push(Metric {
            name: described.name.to_owned(),
            timestamp: self.labels.at,
            metric_type: described.kind as i32,
            label_values: base.chain(more.iter().map(|label| (*label).to_owned())).collect(),
            value: Some(cri_api::v1::UInt64Value { value }),
        });
    }

    fn add_some(&mut self, name: Name, value: Option<u64>) {
        if let Some(value) = value {
            self.add(name, &[], value);
        }
    }
}

/// What there is.
pub(crate) fn descriptors() -> Vec<MetricDescriptor> {
    let keys = |more: &[&str]| BASE.iter().chain(more).map(|key| (*key).to_owned()).collect();
    let one = |name: &Name| {
        let described = name.described();
        MetricDescriptor {
            name: described.name.to_owned(),
            help: described.help.to_owned(),
            label_keys: keys(described.labels),
        }
    };
    table::ALL.iter().map(one).collect()
}

/// All metrics of a pod; `running` are its containers that run.
pub(crate) fn pod(shared: &Shared, pod: &Sandbox, running: &[Arc<Container>]) -> PodSandboxMetrics {
    let at = crate::describe::now();
    let meta = pod.metadata();
    let (name, namespace) = (meta.name.clone(), meta.namespace.clone());
    let cgroup = pod.cgroup_parent().to_owned();
    let base = [String::new(), cgroup, String::new(), pod.id().to_owned(), namespace, name];
    let mut collected = Collected { labels: Labels { base, at }, all: Vec::new() };
    if let Some(group) = shared.group_of_pod(pod) {
        values::group(&group, &mut collected);
    }
    let pid = running.iter().map(|one| one.status().pid).find(|pid| *pid > 0).unwrap_or(0);
    for interface in network::interfaces(pod, pid).unwrap_or_default() {
        values::interface(&interface, &mut collected);
    }
    let labels = &collected.labels;
    let containers = running.iter().map(|one| container(shared, one, labels)).collect();
    PodSandboxMetrics {
        pod_sandbox_id: pod.id().to_owned(),
        metrics: collected.all,
        container_metrics: containers,
    }
}

fn container(shared: &Shared, container: &Container, of_pod: &Labels) -> ContainerMetrics {
    let image = container.config().image.as_ref().map(|image| image.image.clone());
    let [_, _, _, _, namespace, pod] = of_pod.base.clone();
    let base = [
        container.metadata().name.clone(),
        container.cgroups_path().to_owned(),
        image.unwrap_or_default(),
        container.id().to_owned(),
        namespace,
        pod,
    ];
    let labels = Labels { base, at: crate::describe::now() };
    let mut collected = Collected { labels, all: Vec::new() };
    values::container(shared, container, &mut collected);
    ContainerMetrics { container_id: container.id().to_owned(), metrics: collected.all }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_metric_is_described_once() {
        let all = descriptors();
        let names: BTreeSet<_> = all.iter().map(|one| one.name.clone()).collect();
        assert_eq!(names.len(), all.len());
        for one in all {
            assert!(one.name.starts_with("container_"), "{}", one.name);
            assert!(!one.help.is_empty() && one.label_keys.len() >= BASE.len(), "{}", one.name);
        }
    }

    #[test]
    fn values_have_as_many_labels_as_their_description() {
        let base = std::array::from_fn(|n| n.to_string());
        let labels = Labels { base, at: 1 };
        let mut collected = Collected { labels, all: Vec::new() };
        let one = network::Interface { name: "eth0".to_owned(), ..Default::default() };
        values::interface(&one, &mut collected);
        values::device(&crate::group::Device::default(), &mut collected);
        let described = descriptors();
        assert_eq!(collected.all.len(), 8 + 6);
        for metric in collected.all {
            let of = described.iter().find(|one| one.name == metric.name).unwrap();
            assert_eq!(of.label_keys.len(), metric.label_values.len(), "{}", metric.name);
        }
    }
}
