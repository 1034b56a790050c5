//! Spans of calls, as a collector of OpenTelemetry receives them.

use cri_api::v1;
use cri_tests::{Client, Node, pod};
use opentelemetry_proto::tonic::collector::trace::v1 as otlp;
use opentelemetry_proto::tonic::trace::v1::Span;
use otlp::trace_service_server::{TraceService, TraceServiceServer};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tonic::{Request, Response, Status};

/// The caller's trace and span, as kubelet sends them.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector that keeps what it is told.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<otlp::ExportTraceServiceRequest>,
    ) -> Result<Response<otlp::ExportTraceServiceResponse>, Status> {
        let all = request.into_inner().resource_spans.into_iter().flat_map(|of| of.scope_spans);
        self.spans().extend(all.flat_map(|of| of.spans));
        Ok(Response::new(otlp::ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    fn spans(&self) -> MutexGuard<'_, Vec<Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self, name: &str) -> Option<Span> {
        self.spans().iter().find(|span| span.name.starts_with(name)).cloned()
    }

    async fn wait(&self, name: &str) -> Span {
        let begun = Instant::now();
        loop {
            if let Some(span) = self.named(name) {
                return span;
            }
            let names: Vec<_> = self.spans().iter().map(|s| s.name.clone()).collect();
            assert!(begun.elapsed() < Duration::from_secs(20), "{name} is not in {names:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    format!("{:?}", found.and_then(|attribute| attribute.value.clone()))
}

#[test]
fn a_call_is_a_span_of_its_callers_trace_and_its_stages_are_parts_of_it() {
    let Some(mut node) = Node::prepare("traces") else { return };
    let config = std::fs::read_to_string(node.path("config.toml")).unwrap();
    let tracing = "[tracing]\nendpoint = \"http://127.0.0.1:4317\"\n";
    node.write("config.toml", &format!("{config}{tracing}"));
    let collector = Collector::default();
    let serving = collector.clone();
    // On the node's loopback, as the daemon is.
    let listener = node.lab().node().run(|| std::net::TcpListener::bind("127.0.0.1:4317").unwrap());
    listener.set_nonblocking(true).unwrap();
    node.serve();
    node.run(async |client: &mut Client| {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder();
        let served = server
            .clone()
            .add_service(TraceServiceServer::new(serving))
            .serve_with_incoming(incoming);
        tokio::spawn(served);
        let config = client.placed(&pod("traced"));
        let request =
            v1::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        let mut request = Request::new(request);
        let parent = format!("00-{TRACE}-{PARENT}-01");
        request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        let id = client.runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id;
        let call = collector.wait("runtime.v1.RuntimeService/RunPodSandbox").await;
        assert_eq!((hex(&call.trace_id), hex(&call.parent_span_id)), (TRACE.into(), PARENT.into()));
        assert!(attribute(&call, "pod").contains("tests/traced"), "{:?}", call.attributes);
        let stage = collector.wait("CNI ADD bridge").await;
        assert_eq!((&stage.trace_id, &stage.parent_span_id), (&call.trace_id, &call.span_id));
        let unknown = client.pod("nothing").await.unwrap_err();
        assert_eq!(unknown.code(), tonic::Code::NotFound);
        let refused = collector.wait("runtime.v1.RuntimeService/PodSandboxStatus").await;
        assert_eq!(refused.status.as_ref().map(|status| status.code), Some(2), "{refused:?}");
        client.stop_pod(&id).await.unwrap();
        client.remove_pod(&id).await.unwrap();
    });
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
