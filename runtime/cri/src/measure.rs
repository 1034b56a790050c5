//! Figures of the calls.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

type Label = [(&'static str, &'static str); 1];
type Labels = [(&'static str, &'static str); 2];

/// Counters, latencies, and calls under way, by name.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    served: Family<Labels, Counter>,
    took: Family<Label, Histogram, fn() -> Histogram>,
    under_way: Family<Label, Gauge>,
}

/// 0.25 ms to 131 s.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 20))
}

impl Default for Calls {
    fn default() -> Calls {
        Calls {
            served: Family::default(),
            took: Family::new_with_constructor(latencies),
            under_way: Family::default(),
        }
    }
}

/// A call that is served: also counted when its caller goes away.
pub(crate) struct UnderWay<'a> {
    calls: &'a Calls,
    name: &'static str,
    is_done: bool,
}

impl Calls {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let calls = "Calls of the CRI, by outcome";
        registry.register("podloom_cri_calls", calls, self.served.clone());
        let took = "How long calls of the CRI took";
        let unit = Unit::Seconds;
        registry.register_with_unit("podloom_cri_call_duration", took, unit, self.took.clone());
        let now = "Calls of the CRI that are served now";
        registry.register("podloom_cri_calls_under_way", now, self.under_way.clone());
    }

    pub(crate) fn begin(&self, name: &'static str) -> UnderWay<'_> {
        self.under_way.get_or_create(&[("call", name)]).inc();
        UnderWay { calls: self, name, is_done: false }
    }
}

impl UnderWay<'_> {
    pub(crate) fn end(mut self, code: &'static str, took: Duration) {
        self.is_done = true;
        self.calls.served.get_or_create(&[("call", self.name), ("code", code)]).inc();
        self.calls.took.get_or_create(&[("call", self.name)]).observe(took.as_secs_f64());
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.calls.under_way.get_or_create(&[("call", self.name)]).dec();
        if !self.is_done {
            let left = [("call", self.name), ("code", "CALLER_GONE")];
            self.calls.served.get_or_create(&left).inc();
        }
    }
}
