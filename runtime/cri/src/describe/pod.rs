//! Pods.

use crate::filter::state_of;
use cri_api::v1;
use sandbox::Sandbox;

/// A pod in a list.
pub(crate) fn pod_item(pod: &Sandbox) -> v1::PodSandbox {
    v1::PodSandbox {
        id: pod.id().to_owned(),
        metadata: Some(pod.metadata().clone()),
        state: state_of(pod) as i32,
        created_at: pod.created_at(),
        labels: pod.config().labels.clone(),
        annotations: pod.config().annotations.clone(),
        runtime_handler: pod.handler().to_owned(),
    }
}

/// A pod in detail. Its addresses are told as long as it is ready: afterwards they are others'.
pub(crate) fn pod_status(pod: &Sandbox) -> v1::PodSandboxStatus {
    let state = state_of(pod);
    let mut ips = Vec::new();
    if state == v1::PodSandboxState::SandboxReady {
        ips = pod.network().ips.iter().map(ToString::to_string).collect();
    }
    let mut ips = ips.into_iter();
    let network = v1::PodSandboxNetworkStatus {
        ip: ips.next().unwrap_or_default(),
        additional_ips: ips.map(|ip| v1::PodIp { ip }).collect(),
    };
    v1::PodSandboxStatus {
        id: pod.id().to_owned(),
        metadata: Some(pod.metadata().clone()),
        state: state as i32,
        created_at: pod.created_at(),
        network: Some(network),
        linux: Some(namespaces(pod)),
        labels: pod.config().labels.clone(),
        annotations: pod.config().annotations.clone(),
        runtime_handler: pod.handler().to_owned(),
    }
}

fn namespaces(pod: &Sandbox) -> v1::LinuxPodSandboxStatus {
    let asked = pod.config().linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let options = asked.and_then(|context| context.namespace_options.clone()).unwrap_or_default();
    v1::LinuxPodSandboxStatus { namespaces: Some(v1::Namespace { options: Some(options) }) }
}
