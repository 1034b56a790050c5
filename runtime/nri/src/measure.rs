//! Figures of plugins.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicI64;
use std::time::Duration;

type Label = [(&'static str, String); 2];
type Labels = [(&'static str, String); 3];

/// Calls, latencies, drops, by plugin.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    calls: Family<Labels, Counter>,
    took: Family<Label, Histogram, fn() -> Histogram>,
    dropped: Family<[(&'static str, String); 1], Counter>,
    connected: Gauge<i64, AtomicI64>,
}

/// 0.1 ms to 13 s.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 18))
}

impl Default for Measure {
    fn default() -> Measure {
        Measure {
            calls: Family::default(),
            took: Family::new_with_constructor(latencies),
            dropped: Family::default(),
            connected: Gauge::default(),
        }
    }
}

impl Measure {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("podloom_nri_calls", "Calls of plugins, by outcome", self.calls.clone());
        let took = "How long calls of plugins took";
        let unit = Unit::Seconds;
        registry.register_with_unit("podloom_nri_call_duration", took, unit, self.took.clone());
        let dropped = "Plugins that were dropped";
        registry.register("podloom_nri_plugins_dropped", dropped, self.dropped.clone());
        let connected = "Plugins that are connected";
        registry.register("podloom_nri_plugins", connected, self.connected.clone());
    }

    pub(crate) fn call(&self, plugin: &str, call: &str, outcome: &str, took: Duration) {
        let of = || [("plugin", plugin.to_owned()), ("call", call.to_owned())];
        let [first, second] = of();
        self.calls.get_or_create(&[first, second, ("outcome", outcome.to_owned())]).inc();
        self.took.get_or_create(&of()).observe(took.as_secs_f64());
    }

    pub(crate) fn dropped(&self, plugin: &str) {
        self.dropped.get_or_create(&[("plugin", plugin.to_owned())]).inc();
    }

    pub(crate) fn connected(&self, count: usize) {
        self.connected.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
