//! Which items a list is about.

use crate::status::Result;
use container::Container;
use cri_api::v1::{
    ContainerFilter, ContainerStatsFilter, PodSandboxFilter, PodSandboxState, PodSandboxStatsFilter,
};
use sandbox::{Sandbox, State};
use std::collections::HashMap;
use std::sync::Arc;

type Labels = HashMap<String, String>;

fn has_all(wanted: &Labels, labels: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn begins(full: &str, id: &str) -> bool {
    id.is_empty() || full.starts_with(id)
}

/// The CRI's state of a pod.
pub(crate) fn state_of(pod: &Sandbox) -> PodSandboxState {
    match pod.state() {
        State::Ready => PodSandboxState::SandboxReady,
        _ => PodSandboxState::SandboxNotready,
    }
}

/// The pods that a list is about, oldest last.
pub(crate) fn pods(
    mut all: Vec<Arc<Sandbox>>,
    filter: Option<PodSandboxFilter>,
) -> Vec<Arc<Sandbox>> {
    let filter = filter.unwrap_or_default();
    all.retain(|pod| {
        begins(pod.id(), &filter.id)
            && filter.state.is_none_or(|wanted| wanted.state == state_of(pod) as i32)
            && has_all(&filter.label_selector, &pod.config().labels)
    });
    all.sort_by_key(|pod| std::cmp::Reverse(pod.created_at()));
    all
}

/// The pods that statistics are about.
pub(crate) fn pods_of_stats(
    all: Vec<Arc<Sandbox>>,
    filter: Option<PodSandboxStatsFilter>,
) -> Vec<Arc<Sandbox>> {
    let filter = filter.unwrap_or_default();
    let of = PodSandboxFilter { id: filter.id, state: None, label_selector: filter.label_selector };
    let mut found = pods(all, Some(of));
    found.retain(|pod| state_of(pod) == PodSandboxState::SandboxReady);
    found
}

/// The containers that a list is about, oldest last.
pub(crate) fn containers(
    mut all: Vec<Arc<Container>>,
    filter: Option<ContainerFilter>,
) -> Vec<Arc<Container>> {
    let filter = filter.unwrap_or_default();
    all.retain(|container| {
        begins(container.id(), &filter.id)
            && begins(container.sandbox_id(), &filter.pod_sandbox_id)
            && filter.state.is_none_or(|wanted| wanted.state == container.state() as i32)
            && has_all(&filter.label_selector, &container.config().labels)
    });
    all.sort_by_key(|container| std::cmp::Reverse(container.created_at()));
    all
}

/// The containers that statistics are about: those that run.
pub(crate) fn containers_of_stats(
    all: Vec<Arc<Container>>,
    filter: Option<ContainerStatsFilter>,
) -> Vec<Arc<Container>> {
    let filter = filter.unwrap_or_default();
    let of = ContainerFilter {
        id: filter.id,
        state: None,
        pod_sandbox_id: filter.pod_sandbox_id,
        label_selector: filter.label_selector,
    };
    let mut found = containers(all, Some(of));
    found.retain(|container| stats::counts(container));
    found
}

/// The images that a list is about.
pub(crate) fn images(
    service: &::image::ImageService,
    filter: Option<cri_api::v1::ImageFilter>,
) -> Result<Vec<::image::Summary>> {
    match filter.and_then(|f| f.image).map(|spec| spec.image).filter(|name| !name.is_empty()) {
        Some(name) => Ok(service.get(&name)?.into_iter().collect()),
        None => Ok(service.list()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(all: &[(&str, &str)]) -> Labels {
        all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn all_wanted_labels_must_be_there() {
        let have = labels(&[("a", "1"), ("b", "2")]);
        assert!(has_all(&labels(&[]), &have));
        assert!(has_all(&labels(&[("b", "2")]), &have));
        assert!(!has_all(&labels(&[("b", "2"), ("c", "3")]), &have));
        assert!(!has_all(&labels(&[("a", "2")]), &have));
    }

    #[test]
    fn ids_may_be_short() {
        assert!(begins("abcdef", "") && begins("abcdef", "abc") && begins("abcdef", "abcdef"));
        assert!(!begins("abcdef", "bc"));
    }
}
