//! The runtime service with those calls taken out whose answers are put together of messages that are
//! bytes already: the generated service would take them as values, to make the same bytes of them.

use crate::node::{Cri, MESSAGE};
use crate::runtime::{list_pod_sandbox_metrics, stream_pod_sandbox_metrics};
use crate::streams::Chunks;
use cri_api::v1::runtime_service_server::RuntimeServiceServer;
use cri_api::v1::{ListPodSandboxMetricsRequest, StreamPodSandboxMetricsRequest};
use prost::Message;
use std::convert::Infallible;
use std::task::{Context, Poll};
use tonic::body::Body as Answer;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// What begins with a list of messages, each as its bytes. On the wire it is the answer whose first field
/// is that list: a message in another is bytes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Spliced {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) items: Vec<Vec<u8>>,
}

impl Spliced {
    /// The answer as values, for who serves the generated service.
    pub(crate) fn as_message<M: Message + Default>(&self) -> Result<M, Status> {
        let decoded = M::decode(self.encode_to_vec().as_slice());
        decoded.map_err(|e| Status::internal(format!("an answer that was put together: {e}")))
    }
}

/// The runtime service, to be served.
#[derive(Clone, Debug)]
pub struct RuntimeService {
    cri: Cri,
    generated: RuntimeServiceServer<Cri>,
}

impl RuntimeService {
    pub(crate) fn new(cri: Cri, generated: RuntimeServiceServer<Cri>) -> RuntimeService {
        RuntimeService { cri, generated }
    }
}

impl NamedService for RuntimeService {
    const NAME: &'static str = RuntimeServiceServer::<Cri>::NAME;
}

impl<B> Service<http::Request<B>> for RuntimeService
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let cri = self.cri.clone();
        match request.uri().path() {
            "/runtime.v1.RuntimeService/ListPodSandboxMetrics" => {
                Box::pin(async move { Ok(grpc().unary(Listed(cri), request).await) })
            }
            "/runtime.v1.RuntimeService/StreamPodSandboxMetrics" => {
                Box::pin(async move { Ok(grpc().server_streaming(Streamed(cri), request).await) })
            }
            _ => self.generated.call(request),
        }
    }
}

fn grpc<R: Message + Default + 'static>() -> Grpc<ProstCodec<Spliced, R>> {
    let most = Some(MESSAGE);
    Grpc::new(ProstCodec::default()).apply_max_message_size_config(most, most)
}

/// ListPodSandboxMetrics.
struct Listed(Cri);

impl UnaryService<ListPodSandboxMetricsRequest> for Listed {
    type Response = Spliced;
    type Future = BoxFuture<Response<Spliced>, Status>;

    fn call(&mut self, request: Request<ListPodSandboxMetricsRequest>) -> Self::Future {
        let cri = self.0.clone();
        let serve = list_pod_sandbox_metrics::serve;
        Box::pin(async move { cri.call("ListPodSandboxMetrics", request, serve).await })
    }
}

/// StreamPodSandboxMetrics.
struct Streamed(Cri);

impl ServerStreamingService<StreamPodSandboxMetricsRequest> for Streamed {
    type Response = Spliced;
    type ResponseStream = Chunks<Spliced>;
    type Future = BoxFuture<Response<Chunks<Spliced>>, Status>;

    fn call(&mut self, request: Request<StreamPodSandboxMetricsRequest>) -> Self::Future {
        let cri = self.0.clone();
        let serve = stream_pod_sandbox_metrics::serve;
        Box::pin(async move { cri.call("StreamPodSandboxMetrics", request, serve).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri_api::v1::{ListPodSandboxMetricsResponse, PodSandboxMetrics};

    #[test]
    fn a_list_of_bytes_is_the_list_of_the_messages() {
        let pod =
            |id: &str| PodSandboxMetrics { pod_sandbox_id: id.to_owned(), ..Default::default() };
        let pods = vec![pod("a"), pod(""), pod(&"b".repeat(300))];
        let items = pods.iter().map(Message::encode_to_vec).collect();
        let (spliced, answer) =
            (Spliced { items }, ListPodSandboxMetricsResponse { pod_metrics: pods });
        assert_eq!(spliced.encode_to_vec(), answer.encode_to_vec());
        assert_eq!(spliced.as_message::<ListPodSandboxMetricsResponse>().unwrap(), answer);
        let broken = Spliced { items: vec![vec![0xff]] };
        assert!(broken.as_message::<ListPodSandboxMetricsResponse>().is_err());
    }
}
