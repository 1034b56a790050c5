//! Metrics by the names that cAdvisor gave them, for `ListPodSandboxMetrics`.

mod collected;
mod table;
mod values;

use crate::call::Call;
use crate::network;
use ::container::Container;
use collected::Collected;
use cri_api::v1::MetricDescriptor;
use sandbox::Sandbox;
use std::sync::Arc;
use table::{BASE, Name};

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

/// All metrics of a pod, as a `PodSandboxMetrics`; `running` are its containers that run.
pub(crate) fn pod(call: &Call<'_>, pod: &Sandbox, running: &[Arc<Container>]) -> Vec<u8> {
    let meta = pod.metadata();
    let base = ["", pod.cgroup_parent(), "", pod.id(), &meta.namespace, &meta.name];
    let mut collected = Collected::new(pod.id(), crate::describe::now(), &base);
    if let Some(group) = call.shared.group_of_pod(pod) {
        values::group(call, &group, &mut collected);
    }
    for interface in network::interfaces(pod, running).unwrap_or_default() {
        values::interface(&interface, &mut collected);
    }
    for one in running {
        collected.add_container(&container(call, one, pod));
    }
    collected.into_message()
}

fn container(call: &Call<'_>, container: &Container, pod: &Sandbox) -> Collected {
    let image = container.config().image.as_ref().map_or("", |image| image.image.as_str());
    let (of, id) = (pod.metadata(), container.id());
    let name = container.metadata().name.as_str();
    let base = [name, container.cgroups_path(), image, id, &of.namespace, &of.name];
    let mut collected = Collected::new(id, crate::describe::now(), &base);
    values::container(call, container, &mut collected);
    collected
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri_api::v1::PodSandboxMetrics;
    use prost::Message;
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
        let mut collected = Collected::new("id", 1, &["label"; BASE.len()]);
        let one = network::Interface { name: "eth0".to_owned(), ..Default::default() };
        values::interface(&one, &mut collected);
        values::device("/dev/vda", &crate::group::Device::default(), &mut collected);
        let message = collected.into_message();
        let all = PodSandboxMetrics::decode(message.as_slice()).unwrap().metrics;
        let described = descriptors();
        assert_eq!(all.len(), 8 + 6);
        for metric in all {
            let of = described.iter().find(|one| one.name == metric.name).unwrap();
            assert_eq!(of.label_keys.len(), metric.label_values.len(), "{}", metric.name);
        }
    }
}
