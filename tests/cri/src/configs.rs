//! Configurations of pods and containers.

use cri_api::v1;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A pod of this name, with an uid of its own.
pub fn pod(name: &str) -> v1::PodSandboxConfig {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("{name}-{}-{number}", std::process::id()),
            namespace: "tests".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        linux: Some(v1::LinuxPodSandboxConfig {
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(v1::NamespaceOption {
                    pid: v1::NamespaceMode::Container as i32,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The same pod on the node's network.
pub fn host_network(mut config: v1::PodSandboxConfig) -> v1::PodSandboxConfig {
    let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    context.namespace_options.get_or_insert_default().network = v1::NamespaceMode::Node as i32;
    config.hostname.clear();
    config
}

/// The same pod with a label.
pub fn labelled(mut config: v1::PodSandboxConfig, key: &str, value: &str) -> v1::PodSandboxConfig {
    config.labels.insert(key.to_owned(), value.to_owned());
    config
}

/// A TCP port of the node for one of the pod.
pub fn port(host: i32, container: i32) -> v1::PortMapping {
    v1::PortMapping {
        protocol: v1::Protocol::Tcp as i32,
        container_port: container,
        host_port: host,
        host_ip: String::new(),
    }
}

/// A container of an image that runs a command of the shell.
pub fn container(name: &str, image: &str, script: &str) -> v1::ContainerConfig {
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() }),
        command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
        log_path: format!("{name}.log"),
        linux: Some(v1::LinuxContainerConfig::default()),
        ..Default::default()
    }
}
