//! `/metrics`, for Prometheus.

use crate::fault::Fault;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use image::ImageService;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Clients at one time.
const CLIENTS: usize = 16;

/// Figures of the rooms, read when they are asked for.
#[derive(Debug)]
pub(crate) struct Rooms(pub(crate) cri::Parts);

impl Collector for Rooms {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Rooms(parts) = self;
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("podloom_pods", "Pods of this node, ready or not", count(parts.pods.list().len())),
            ("podloom_containers", "Containers of this node", count(parts.containers.list().len())),
            ("podloom_pulls_under_way", "Pulls at work", count(parts.images.under_way().len())),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        pulls(&parts.images, &mut encoder)
    }
}

fn pulls(
    images: &ImageService,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let counters = images.counters();
    for (name, help, value) in [
        ("podloom_image_pulls", "Pulls that were begun", counters.pulls),
        ("podloom_image_pull_failures", "Pulls that failed or were given up", counters.failed),
        ("podloom_image_pull_bytes", "Bytes of layers that came", counters.bytes),
    ] {
        let counter = ConstCounter::new(value);
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
    }
    Ok(())
}

/// Serves at `address` until the daemon ends.
pub(crate) async fn begin(address: &str, registry: Registry) -> Result<(), Fault> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|e| Fault::new(format!("metrics.address {address}"), e))?;
    let registry = Arc::new(registry);
    let places = Arc::new(Semaphore::new(CLIENTS));
    tokio::spawn(async move {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Too many open files: a moment later there may be room.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let registry = registry.clone();
            tokio::spawn(async move {
                let answer = service_fn(|request| std::future::ready(answer(&registry, &request)));
                let server = hyper::server::conn::http1::Builder::new();
                let served = server.serve_connection(TokioIo::new(stream), answer);
                let limit = std::time::Duration::from_secs(30);
                // A client that breaks off or dawdles is of no interest.
                let _ended = tokio::time::timeout(limit, served).await;
                drop(place);
            });
        }
    });
    Ok(())
}

fn answer(
    registry: &Registry,
    request: &Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    if request.method() != Method::GET || request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    }
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, registry).is_err() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return Ok(response);
    }
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(TEXT));
    *response.body_mut() = Full::new(Bytes::from(text));
    Ok(response)
}
