//! The services and what they stand on.

use crate::events::Events;
use crate::measure::Calls;
use crate::names::Named;
use crate::spliced::RuntimeService;
use crate::status::{Refusal, Result};
use crate::streaming::Streams;
use ::image::ImageService;
use container::Containers;
use cri_api::v1::CgroupDriver;
use cri_api::v1::image_service_server::ImageServiceServer;
use cri_api::v1::runtime_service_server::RuntimeServiceServer;
use prometheus_client::registry::Registry;
use sandbox::Sandboxes;
use stats::Stats;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::{Request, Response, Status};
use tracing::Span;

/// How large a message may be, in bytes: what clients of the CRI send and take.
pub(crate) const MESSAGE: usize = 16 << 20;

/// The rooms that the services ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Pods.
    pub pods: Sandboxes,
    /// Containers.
    pub containers: Containers,
    /// Images.
    pub images: ImageService,
    /// Usage.
    pub stats: Stats,
}

/// What the services say and do of their own.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Version of this program.
    pub version: String,
    /// Who makes control groups, for kubelet to do the same.
    pub cgroup_driver: CgroupDriver,
    /// Names of images that kubelet must not remove, each a whole name, or its beginning with `*`.
    pub pinned: Vec<String>,
    /// How long a pull goes on after its caller went away, for the caller to ask again.
    pub pull_linger: Duration,
    /// Where images are, for `ImageFsInfo`.
    pub image_dir: PathBuf,
    /// Where writable layers of containers are, for `ImageFsInfo`.
    pub container_dir: PathBuf,
    /// The configuration in force, shown by `Status` with `verbose`. JSON.
    pub shown_config: String,
}

/// The CRI's services. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cri {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    settings: Settings,
    streaming: streaming::Server,
    events: Events,
    calls: Calls,
}

impl Cri {
    /// Who runs the commands of streams, for [`streaming::Server::bind`].
    #[must_use]
    pub fn backend(parts: &Parts) -> Arc<dyn streaming::Backend> {
        Arc::new(Streams { pods: parts.pods.clone(), containers: parts.containers.clone() })
    }

    /// The services on these rooms; URLs of exec, attach and port-forward are of `streaming`, which
    /// was made with [`Cri::backend`]. To be called within a tokio runtime: events are followed from
    /// here on.
    #[must_use]
    pub fn new(parts: Parts, settings: Settings, streaming: streaming::Server) -> Cri {
        let events = Events::follow(&parts);
        let inner = Inner { parts, settings, streaming, events, calls: Calls::default() };
        Cri { inner: Arc::new(inner) }
    }

    /// The server of streams, for a new key pair.
    #[must_use]
    pub fn streams(&self) -> &streaming::Server {
        &self.inner.streaming
    }

    /// Ends what would go on for ever: event streams at once, exec, attach and port-forward after
    /// `grace`.
    pub async fn end_streams(&self, grace: Duration) {
        self.inner.events.close();
        self.inner.streaming.stop(grace).await;
    }

    /// Counters and latencies of the calls, for Prometheus.
    pub fn register(&self, registry: &mut Registry) {
        self.inner.calls.register(registry);
    }

    /// The runtime service, to be served.
    #[must_use]
    pub fn runtime_service(&self) -> RuntimeService {
        let server = RuntimeServiceServer::new(self.clone());
        let server = server.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE);
        RuntimeService::new(self.clone(), server)
    }

    /// The image service, to be served.
    #[must_use]
    pub fn image_service(&self) -> ImageServiceServer<Cri> {
        let server = ImageServiceServer::new(self.clone());
        server.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE)
    }

    pub(crate) fn pods(&self) -> &Sandboxes {
        &self.inner.parts.pods
    }

    pub(crate) fn containers(&self) -> &Containers {
        &self.inner.parts.containers
    }

    pub(crate) fn images(&self) -> &ImageService {
        &self.inner.parts.images
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.inner.parts.stats
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(crate) fn streaming(&self) -> &streaming::Server {
        &self.inner.streaming
    }

    pub(crate) fn events(&self) -> &Events {
        &self.inner.events
    }

    /// Serves one call: counted, timed, logged, with its names in the span of the call.
    pub(crate) async fn call<'a, R: Named, T, F: Future<Output = Result<T>>>(
        &'a self,
        name: &'static str,
        request: Request<R>,
        serve: impl FnOnce(&'a Cri, R) -> F,
    ) -> std::result::Result<Response<T>, Status> {
        let begun = Instant::now();
        let under_way = self.inner.calls.begin(name);
        let request = request.into_inner();
        request.tell(&Span::current());
        let outcome = serve(self, request).await;
        let took = begun.elapsed();
        match outcome {
            Ok(answer) => {
                under_way.end("OK", took);
                tracing::debug!(call = name, ms = took.as_secs_f64() * 1e3, "served");
                Ok(Response::new(answer))
            }
            Err(refusal) => {
                under_way.end(code_name(&refusal), took);
                let (code, ms) = (code_name(&refusal), took.as_secs_f64() * 1e3);
                Span::current().record("otel.status_code", "ERROR");
                Span::current().record("otel.status_description", refusal.message());
                tracing::warn!(call = name, code, ms, cause = refusal.message(), "refused");
                Err(refusal.into())
            }
        }
    }
}

/// Work on files, on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    subject: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(Refusal::task(subject, &e)))
}

fn code_name(refusal: &Refusal) -> &'static str {
    use tonic::Code;
    match refusal.code() {
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::Unavailable => "UNAVAILABLE",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::DataLoss => "DATA_LOSS",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Cancelled => "CANCELLED",
        _ => "INTERNAL",
    }
}
