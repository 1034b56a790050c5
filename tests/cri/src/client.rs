//! A client of the CRI, as kubelet is one.

use cri_api::v1;
use cri_api::v1::image_service_client::ImageServiceClient;
use cri_api::v1::runtime_service_client::RuntimeServiceClient;
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How large a message may be, in bytes, as kubelet has it.
const MESSAGE: usize = 16 << 20;

/// Both services, and short forms of what tests often ask.
#[derive(Debug)]
pub struct Client {
    /// Pods and containers.
    pub runtime: RuntimeServiceClient<Channel>,
    /// Images.
    pub images: ImageServiceClient<Channel>,
    /// The connection of both, for who does not want answers read.
    pub channel: Channel,
    /// The control group below which pods have theirs.
    pub cgroup: String,
    /// Where pods have their logs.
    pub log_dir: PathBuf,
}

/// A connection that is made when it is needed, and again after each end of the daemon.
pub(crate) fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The host is what clients of Unix sockets say: nothing looks it up.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
}

impl Client {
    /// A client of the daemon at this socket, which it reaches when it first asks. To be called
    /// within a tokio runtime.
    pub fn new(socket: &Path, cgroup: String, log_dir: PathBuf) -> Client {
        let channel = channel(socket);
        let runtime = RuntimeServiceClient::new(channel.clone());
        let images = ImageServiceClient::new(channel.clone());
        Client {
            runtime: runtime.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE),
            images: images.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE),
            channel,
            cgroup,
            log_dir,
        }
    }

    /// Whether the daemon answers.
    pub async fn answers(&mut self) -> bool {
        let asked = self.runtime.version(v1::VersionRequest::default());
        tokio::time::timeout(Duration::from_secs(2), asked).await.is_ok_and(|answer| answer.is_ok())
    }

    /// Pulls an image and returns its id.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn pull(&mut self, name: &str) -> String {
        self.try_pull(name).await.expect("pull")
    }

    /// Pulls an image and returns its id.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn try_pull(&mut self, name: &str) -> Result<String, Status> {
        let image = Some(v1::ImageSpec { image: name.to_owned(), ..Default::default() });
        let request = v1::PullImageRequest { image, ..Default::default() };
        Ok(self.images.pull_image(request).await?.into_inner().image_ref)
    }

    /// Makes a pod of this configuration.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn run_pod(&mut self, config: &v1::PodSandboxConfig) -> Result<String, Status> {
        let config = Some(self.placed(config));
        let request = v1::RunPodSandboxRequest { config, runtime_handler: String::new() };
        Ok(self.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    /// What is said of a pod's configuration, as it is, that must be refused.
    ///
    /// # Panics
    /// When it is not refused.
    pub async fn run_pod_raw(&mut self, config: v1::PodSandboxConfig) -> Status {
        let config = Some(config);
        let request = v1::RunPodSandboxRequest { config, runtime_handler: String::new() };
        self.runtime.run_pod_sandbox(request).await.expect_err("a refusal")
    }

    /// A configuration with the control group and the log directory of this node.
    pub fn placed(&self, config: &v1::PodSandboxConfig) -> v1::PodSandboxConfig {
        let mut config = config.clone();
        let uid = config.metadata.as_ref().map(|m| m.uid.clone()).unwrap_or_default();
        let linux = config.linux.get_or_insert_default();
        if linux.cgroup_parent.is_empty() {
            linux.cgroup_parent = format!("{}/pod{uid}", self.cgroup);
        }
        if config.log_directory.is_empty() {
            config.log_directory = self.log_dir.join(uid).display().to_string();
        }
        config
    }

    /// Makes a container in a pod.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn create(
        &mut self,
        pod: &str,
        config: &v1::ContainerConfig,
        of: &v1::PodSandboxConfig,
    ) -> Result<String, Status> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(self.placed(of)),
        };
        Ok(self.runtime.create_container(request).await?.into_inner().container_id)
    }

    /// Starts a container.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn start(&mut self, id: &str) -> Result<(), Status> {
        let request = v1::StartContainerRequest { container_id: id.to_owned() };
        self.runtime.start_container(request).await.map(drop)
    }

    /// Makes and starts a container.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn launch(
        &mut self,
        pod: &str,
        config: &v1::ContainerConfig,
        of: &v1::PodSandboxConfig,
    ) -> String {
        let id = self.create(pod, config, of).await.expect("create");
        self.start(&id).await.expect("start");
        id
    }

    /// Changes the limits of a container.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn update(
        &mut self,
        id: &str,
        limits: v1::LinuxContainerResources,
    ) -> Result<(), Status> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(limits),
            ..Default::default()
        };
        self.runtime.update_container_resources(request).await.map(drop)
    }

    /// Stops a container with so many seconds of grace.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn stop(&mut self, id: &str, timeout: i64) -> Result<(), Status> {
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout };
        self.runtime.stop_container(request).await.map(drop)
    }

    /// Removes a container.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn remove(&mut self, id: &str) -> Result<(), Status> {
        let request = v1::RemoveContainerRequest { container_id: id.to_owned() };
        self.runtime.remove_container(request).await.map(drop)
    }

    /// Stops a pod.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn stop_pod(&mut self, id: &str) -> Result<(), Status> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.runtime.stop_pod_sandbox(request).await.map(drop)
    }

    /// Removes a pod.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn remove_pod(&mut self, id: &str) -> Result<(), Status> {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.runtime.remove_pod_sandbox(request).await.map(drop)
    }

    /// A pod's status.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn pod(&mut self, id: &str) -> Result<v1::PodSandboxStatusResponse, Status> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        Ok(self.runtime.pod_sandbox_status(request).await?.into_inner())
    }

    /// A container's status.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn container(&mut self, id: &str) -> Result<v1::ContainerStatus, Status> {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self.runtime.container_status(request).await?.into_inner();
        answer.status.ok_or_else(|| Status::new(Code::Internal, "no status"))
    }

    /// Waits until a container has ended, and returns its status.
    ///
    /// # Panics
    /// When it does not within 20 s.
    pub async fn ended(&mut self, id: &str) -> v1::ContainerStatus {
        for _ in 0..1000 {
            let status = self.container(id).await.expect("status");
            if status.state() == v1::ContainerState::ContainerExited {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("container {id} does not end");
    }

    /// Runs a command in a container.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn exec(
        &mut self,
        id: &str,
        command: &[&str],
    ) -> Result<v1::ExecSyncResponse, Status> {
        let cmd = command.iter().map(|word| (*word).to_owned()).collect();
        let request = v1::ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: 20 };
        Ok(self.runtime.exec_sync(request).await?.into_inner())
    }

    /// What a command in a container says on its output.
    ///
    /// # Panics
    /// When it fails.
    pub async fn says(&mut self, id: &str, command: &[&str]) -> String {
        let answer = self.exec(id, command).await.expect("exec");
        let errors = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert_eq!(answer.exit_code, 0, "{command:?}: {errors}");
        String::from_utf8(answer.stdout).expect("text")
    }
}
