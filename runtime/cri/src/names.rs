//! What a request is about, for logs and spans.

use cri_api::v1;
use tracing::Span;

/// A request that may name a pod, a container or an image.
pub(crate) trait Named {
    /// Writes the name into the span of the call: its fields `pod`, `container` and `image`.
    fn tell(&self, _span: &Span) {}
}

macro_rules! named {
    ($key:literal: $field:ident of $($message:ident),+) => {$(
        impl Named for v1::$message {
            fn tell(&self, span: &Span) {
                span.record($key, self.$field.as_str());
            }
        }
    )+};
}

macro_rules! of_an_image {
    ($($message:ident),+) => {$(
        impl Named for v1::$message {
            fn tell(&self, span: &Span) {
                if let Some(image) = &self.image {
                    span.record("image", image.image.as_str());
                }
            }
        }
    )+};
}

macro_rules! nameless {
    ($($message:ident),+) => {$(
        impl Named for v1::$message {}
    )+};
}

named!("pod": pod_sandbox_id of
    StopPodSandboxRequest, RemovePodSandboxRequest, PodSandboxStatusRequest, PodSandboxStatsRequest,
    PortForwardRequest, UpdatePodSandboxResourcesRequest);
named!("container": container_id of
    StartContainerRequest, StopContainerRequest, RemoveContainerRequest, ContainerStatusRequest,
    UpdateContainerResourcesRequest, ExecSyncRequest, ExecRequest, AttachRequest,
    ContainerStatsRequest, ReopenContainerLogRequest, CheckpointContainerRequest);
of_an_image!(ImageStatusRequest, PullImageRequest, RemoveImageRequest);
nameless!(
    VersionRequest,
    ListPodSandboxRequest,
    ListContainersRequest,
    ListPodSandboxStatsRequest,
    ListContainerStatsRequest,
    UpdateRuntimeConfigRequest,
    StatusRequest,
    GetEventsRequest,
    ListMetricDescriptorsRequest,
    ListPodSandboxMetricsRequest,
    RuntimeConfigRequest,
    StreamPodSandboxesRequest,
    StreamContainersRequest,
    StreamContainerStatsRequest,
    StreamPodSandboxStatsRequest,
    StreamPodSandboxMetricsRequest,
    ListImagesRequest,
    ImageFsInfoRequest,
    StreamImagesRequest
);

impl Named for v1::RunPodSandboxRequest {
    fn tell(&self, span: &Span) {
        if let Some(metadata) = self.config.as_ref().and_then(|config| config.metadata.as_ref()) {
            span.record("pod", format!("{}/{}", metadata.namespace, metadata.name).as_str());
        }
    }
}

impl Named for v1::CreateContainerRequest {
    fn tell(&self, span: &Span) {
        span.record("pod", self.pod_sandbox_id.as_str());
        if let Some(metadata) = self.config.as_ref().and_then(|config| config.metadata.as_ref()) {
            span.record("container", metadata.name.as_str());
        }
    }
}
