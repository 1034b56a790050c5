//! Spans of calls, told to a collector of OpenTelemetry.

use crate::fault::Fault;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use runtime_config::Tracing;
use std::time::Duration;
use tonic::codegen::http::{HeaderMap, Request};
use tracing::Span;
use tracing::field::Empty;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// How long one message to the collector may take.
const SEND: Duration = Duration::from_secs(5);

/// What goes to the collector, if there is one.
pub(crate) struct Traces {
    provider: Option<SdkTracerProvider>,
}

impl Traces {
    /// To be called within a tokio runtime. The collector need not be there yet: spans that it does
    /// not take are dropped.
    pub(crate) fn new(config: &Tracing) -> Result<Traces, Fault> {
        if config.endpoint.is_empty() {
            return Ok(Traces { provider: None });
        }
        if !(0.0..=1.0).contains(&config.sampling) {
            return Err(Fault::new("tracing.sampling", "is not between 0 and 1"));
        }
        let subject = format!("tracing.endpoint {:?}", config.endpoint);
        if !config.endpoint.starts_with("http://") {
            return Err(Fault::new(subject, "is not http://HOST:PORT of a collector"));
        }
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(&config.endpoint);
        let exporter = exporter.with_timeout(SEND).build().map_err(|e| Fault::new(subject, e))?;
        let named = Resource::builder().with_service_name("podloomd");
        let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        // What the caller decided holds for its whole trace.
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sampling)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(named.with_attribute(version).build())
            .build();
        Ok(Traces { provider: Some(provider) })
    }

    /// What hears of spans. Not those of the libraries beneath, which would tell of the telling.
    pub(crate) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let tracer = self.provider.as_ref()?.tracer("podloomd");
        let ours = ["podloomd", "cri", "sandbox", "container", "image", "nri", "streaming"];
        let ours = ours.map(|room| (room, LevelFilter::INFO));
        let filter = Targets::new().with_targets(ours);
        Some(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(filter))
    }

    /// Sends what was not sent yet.
    pub(crate) fn end(&self) {
        if let Some(Err(e)) = self.provider.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(cause = %e, "the last spans were not told");
        }
    }
}

/// The span of a call of the CRI, in the trace of its caller. Names are written into it when the
/// request was read.
pub(crate) fn of_call(request: &Request<()>) -> Span {
    let path = request.uri().path().trim_start_matches('/');
    let (service, method) = path.rsplit_once('/').unwrap_or(("", path));
    let span = tracing::info_span!(
        "call",
        otel.name = path,
        otel.kind = "server",
        otel.status_code = Empty,
        otel.status_description = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        pod = Empty,
        container = Empty,
        image = Empty,
    );
    let caller = TraceContextPropagator::new().extract(&Headers(request.headers()));
    // Fails only where no collector is told.
    let _told = span.set_parent(caller);
    span
}

/// The caller's trace, as the W3C's `traceparent` has it.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|key| key.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(endpoint: &str, sampling: f64) -> bool {
        Traces::new(&Tracing { endpoint: endpoint.to_owned(), sampling }).is_err()
    }

    #[tokio::test]
    async fn a_wrong_endpoint_or_part_is_refused() {
        assert!(refused("127.0.0.1:4317", 1.0) && refused("https://h:1", 1.0));
        assert!(refused("http://127.0.0.1:4317", 1.5) && refused("http://h:1", f64::NAN));
        assert!(!refused("http://127.0.0.1:4317", 0.1) && !refused("", 7.0));
    }
}
