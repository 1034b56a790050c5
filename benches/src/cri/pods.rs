//! The pods that are measured.

use super::server::Server;
use cri_api::v1;
use cri_tests::{Client, container, pod};
use tonic::Status;

/// What runs in containers: ends at SIGTERM.
const STAY: &str = "/stay";

/// A pod that is there, with its container.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) pod: String,
    pub(crate) container: String,
}

/// The configuration of a pod and its one container, as kubelet makes them.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) pod: v1::PodSandboxConfig,
    pub(crate) container: v1::ContainerConfig,
}

impl Wanted {
    pub(crate) fn new(server: &Server, name: &str) -> Wanted {
        let mut wanted = pod(name);
        wanted.dns_config = Some(v1::DnsConfig {
            servers: vec!["10.96.0.10".to_owned()],
            searches: vec!["default.svc.cluster.local".to_owned()],
            options: vec!["ndots:5".to_owned()],
        });
        let mut main = container("main", &server.image(), "");
        main.command = vec![STAY.to_owned()];
        if let Some(image) = &mut main.image {
            // As the pod's manifest has it; CRI-O asks for it.
            image.user_specified_image.clone_from(&image.image);
        }
        main.envs = (0..8)
            .map(|n| v1::KeyValue { key: format!("SERVICE_{n}"), value: b"10.96.0.1".to_vec() })
            .collect();
        main.linux = Some(v1::LinuxContainerConfig {
            resources: Some(v1::LinuxContainerResources {
                cpu_period: 100_000,
                cpu_quota: 50_000,
                cpu_shares: 256,
                memory_limit_in_bytes: 128 << 20,
                oom_score_adj: 900,
                ..Default::default()
            }),
            security_context: Some(v1::LinuxContainerSecurityContext {
                namespace_options: Some(v1::NamespaceOption {
                    pid: v1::NamespaceMode::Container as i32,
                    ..Default::default()
                }),
                seccomp: Some(v1::SecurityProfile {
                    profile_type: v1::security_profile::ProfileType::RuntimeDefault as i32,
                    ..Default::default()
                }),
                masked_paths: ["/proc/acpi", "/proc/kcore", "/proc/keys", "/sys/firmware"]
                    .map(str::to_owned)
                    .to_vec(),
                readonly_paths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"]
                    .map(str::to_owned)
                    .to_vec(),
                ..Default::default()
            }),
        });
        Wanted { pod: wanted, container: main }
    }

    /// Makes and starts all of it.
    pub(crate) async fn make(&self, client: &mut Client) -> Result<Running, Status> {
        let pod = client.run_pod(&self.pod).await?;
        let container = client.create(&pod, &self.container, &self.pod).await?;
        client.start(&container).await?;
        Ok(Running { pod, container })
    }
}

impl Running {
    /// Stops and removes all of it.
    pub(crate) async fn end(&self, client: &mut Client) -> Result<(), Status> {
        client.stop(&self.container, 10).await?;
        client.remove(&self.container).await?;
        client.stop_pod(&self.pod).await?;
        client.remove_pod(&self.pod).await
    }
}
