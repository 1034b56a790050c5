//! What each pod waits for now, for messages.

use libcni::{CallBegun, CallReport, Observe};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tracing::Span;

/// What is going on for each pod.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    now: Mutex<HashMap<String, Stage>>,
}

#[derive(Debug)]
struct Stage {
    name: String,
    since: Instant,
    /// The span of the call that began with the pod; plugins tell from tasks that have none.
    call: Span,
    /// The stage's own span, a part of the call's. It ends when the next stage replaces it.
    _own: Span,
}

impl Stages {
    /// Notes what the pod waits for from now on.
    pub(crate) fn set(&self, id: &str, stage: impl Into<String>) {
        let name = stage.into();
        tracing::debug!(pod = id, stage = name, "stage");
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let call = now.remove(id).map_or_else(Span::current, |before| before.call);
        let own = tracing::info_span!(parent: &call, "stage", otel.name = name, pod = id);
        now.insert(id.to_owned(), Stage { name, since: Instant::now(), call, _own: own });
    }

    /// The pod waits for nothing any more.
    pub(crate) fn clear(&self, id: &str) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// What the pod waits for, and since when.
    pub(crate) fn describe(&self, id: &str) -> String {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        match now.get(id) {
            Some(Stage { name, since, .. }) => {
                format!("waiting {:.0} s in {name}", since.elapsed().as_secs_f64())
            }
            None => "about to end".to_owned(),
        }
    }
}

/// Tells calls of plugins to the stages and to the log.
#[derive(Debug)]
pub(crate) struct Teller(pub(crate) std::sync::Arc<Stages>);

impl Observe for Teller {
    fn begun(&self, call: &CallBegun<'_>) {
        if !call.container_id.is_empty() {
            let stage = format!("CNI {} {} of network {}", call.verb, call.plugin, call.network);
            self.0.set(call.container_id, stage);
        }
    }

    fn finished(&self, report: &CallReport) {
        let took = report.took.as_secs_f64() * 1000.0;
        let (network, plugin, pod) = (&report.network, &report.plugin, &report.container_id);
        let verb = report.verb.as_str();
        match &report.failure {
            Some(failure) => {
                tracing::warn!(
                    network,
                    plugin,
                    verb,
                    pod,
                    took_ms = took,
                    failure,
                    "plugin failed"
                );
            }
            None => tracing::debug!(network, plugin, verb, pod, took_ms = took, "plugin done"),
        }
    }
}
