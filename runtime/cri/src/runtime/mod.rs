//! RuntimeService: one file for each call.

mod attach;
mod checkpoint_container;
mod container_stats;
mod container_status;
mod create_container;
mod exec;
mod exec_sync;
mod get_container_events;
mod list_container_stats;
mod list_containers;
mod list_metric_descriptors;
mod list_pod_sandbox;
pub(crate) mod list_pod_sandbox_metrics;
mod list_pod_sandbox_stats;
mod pod_sandbox_stats;
mod pod_sandbox_status;
mod port_forward;
mod remove_container;
mod remove_pod_sandbox;
mod reopen_container_log;
mod run_pod_sandbox;
mod runtime_config;
mod start_container;
mod status;
mod stop_container;
mod stop_pod_sandbox;
mod stream_container_stats;
mod stream_containers;
pub(crate) mod stream_pod_sandbox_metrics;
mod stream_pod_sandbox_stats;
mod stream_pod_sandboxes;
mod update_container_resources;
mod update_pod_sandbox_resources;
mod update_runtime_config;
mod version;

use crate::node::Cri;
use crate::streams::Chunks;
use cri_api::v1;
use cri_api::v1::runtime_service_server::RuntimeService;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RuntimeService for Cri {
    async fn version(&self, request: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        self.call("Version", request, version::serve).await
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<v1::RunPodSandboxRequest>,
    ) -> Answer<v1::RunPodSandboxResponse> {
        self.call("RunPodSandbox", request, run_pod_sandbox::serve).await
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        self.call("StopPodSandbox", request, stop_pod_sandbox::serve).await
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        self.call("RemovePodSandbox", request, remove_pod_sandbox::serve).await
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        self.call("PodSandboxStatus", request, pod_sandbox_status::serve).await
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        self.call("ListPodSandbox", request, list_pod_sandbox::serve).await
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        self.call("CreateContainer", request, create_container::serve).await
    }

    async fn start_container(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Answer<v1::StartContainerResponse> {
        self.call("StartContainer", request, start_container::serve).await
    }

    async fn stop_container(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Answer<v1::StopContainerResponse> {
        self.call("StopContainer", request, stop_container::serve).await
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        self.call("RemoveContainer", request, remove_container::serve).await
    }

    async fn list_containers(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Answer<v1::ListContainersResponse> {
        self.call("ListContainers", request, list_containers::serve).await
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        self.call("ContainerStatus", request, container_status::serve).await
    }

    async fn update_container_resources(
        &self,
        request: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        self.call("UpdateContainerResources", request, update_container_resources::serve).await
    }

    async fn reopen_container_log(
        &self,
        request: Request<v1::ReopenContainerLogRequest>,
    ) -> Answer<v1::ReopenContainerLogResponse> {
        self.call("ReopenContainerLog", request, reopen_container_log::serve).await
    }

    async fn exec_sync(
        &self,
        request: Request<v1::ExecSyncRequest>,
    ) -> Answer<v1::ExecSyncResponse> {
        self.call("ExecSync", request, exec_sync::serve).await
    }

    async fn exec(&self, request: Request<v1::ExecRequest>) -> Answer<v1::ExecResponse> {
        self.call("Exec", request, exec::serve).await
    }

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Answer<v1::AttachResponse> {
        self.call("Attach", request, attach::serve).await
    }

    async fn port_forward(
        &self,
        request: Request<v1::PortForwardRequest>,
    ) -> Answer<v1::PortForwardResponse> {
        self.call("PortForward", request, port_forward::serve).await
    }

    async fn container_stats(
        &self,
        request: Request<v1::ContainerStatsRequest>,
    ) -> Answer<v1::ContainerStatsResponse> {
        self.call("ContainerStats", request, container_stats::serve).await
    }

    async fn list_container_stats(
        &self,
        request: Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        self.call("ListContainerStats", request, list_container_stats::serve).await
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<v1::PodSandboxStatsRequest>,
    ) -> Answer<v1::PodSandboxStatsResponse> {
        self.call("PodSandboxStats", request, pod_sandbox_stats::serve).await
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<v1::ListPodSandboxStatsRequest>,
    ) -> Answer<v1::ListPodSandboxStatsResponse> {
        self.call("ListPodSandboxStats", request, list_pod_sandbox_stats::serve).await
    }

    async fn update_runtime_config(
        &self,
        request: Request<v1::UpdateRuntimeConfigRequest>,
    ) -> Answer<v1::UpdateRuntimeConfigResponse> {
        self.call("UpdateRuntimeConfig", request, update_runtime_config::serve).await
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        self.call("Status", request, status::serve).await
    }

    async fn checkpoint_container(
        &self,
        request: Request<v1::CheckpointContainerRequest>,
    ) -> Answer<v1::CheckpointContainerResponse> {
        self.call("CheckpointContainer", request, checkpoint_container::serve).await
    }

    async fn list_metric_descriptors(
        &self,
        request: Request<v1::ListMetricDescriptorsRequest>,
    ) -> Answer<v1::ListMetricDescriptorsResponse> {
        self.call("ListMetricDescriptors", request, list_metric_descriptors::serve).await
    }

    async fn list_pod_sandbox_metrics(
        &self,
        request: Request<v1::ListPodSandboxMetricsRequest>,
    ) -> Answer<v1::ListPodSandboxMetricsResponse> {
        let spliced = self.call("ListPodSandboxMetrics", request, list_pod_sandbox_metrics::serve);
        let spliced = spliced.await?.into_inner();
        Ok(Response::new(spliced.as_message()?))
    }

    async fn runtime_config(
        &self,
        request: Request<v1::RuntimeConfigRequest>,
    ) -> Answer<v1::RuntimeConfigResponse> {
        self.call("RuntimeConfig", request, runtime_config::serve).await
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<v1::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<v1::UpdatePodSandboxResourcesResponse> {
        self.call("UpdatePodSandboxResources", request, update_pod_sandbox_resources::serve).await
    }

    type StreamPodSandboxesStream = Chunks<v1::StreamPodSandboxesResponse>;

    async fn stream_pod_sandboxes(
        &self,
        request: Request<v1::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        self.call("StreamPodSandboxes", request, stream_pod_sandboxes::serve).await
    }

    type StreamContainersStream = Chunks<v1::StreamContainersResponse>;

    async fn stream_containers(
        &self,
        request: Request<v1::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        self.call("StreamContainers", request, stream_containers::serve).await
    }

    type StreamContainerStatsStream = Chunks<v1::StreamContainerStatsResponse>;

    async fn stream_container_stats(
        &self,
        request: Request<v1::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        self.call("StreamContainerStats", request, stream_container_stats::serve).await
    }

    type StreamPodSandboxStatsStream = Chunks<v1::StreamPodSandboxStatsResponse>;

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<v1::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        self.call("StreamPodSandboxStats", request, stream_pod_sandbox_stats::serve).await
    }

    type StreamPodSandboxMetricsStream = Chunks<v1::StreamPodSandboxMetricsResponse>;

    async fn stream_pod_sandbox_metrics(
        &self,
        request: Request<v1::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        let serve = stream_pod_sandbox_metrics::serve;
        let stream = self.call("StreamPodSandboxMetrics", request, serve).await?;
        Ok(stream.map(|pieces| -> Self::StreamPodSandboxMetricsStream {
            Box::pin(pieces.map(|piece| piece.and_then(|spliced| spliced.as_message())))
        }))
    }

    type GetContainerEventsStream = Chunks<v1::ContainerEventResponse>;

    async fn get_container_events(
        &self,
        request: Request<v1::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        self.call("GetContainerEvents", request, get_container_events::serve).await
    }
}
