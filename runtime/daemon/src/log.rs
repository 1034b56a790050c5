//! The log, on standard error, where systemd and people find it.

use crate::fault::Fault;
use crate::traces::Traces;
use runtime_config::{Log, LogFormat};
use std::io::stderr;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

/// Sets another level while the daemon runs.
pub(crate) struct Level(Handle<EnvFilter, Registry>);

/// Both forms of the log as one type.
type Lines = Box<dyn Layer<Registry> + Send + Sync>;

impl Level {
    pub(crate) fn set(&self, level: &str) -> Result<(), Fault> {
        let failed = |e: reload::Error| Fault::new("log.level", e);
        self.0.reload(filter(level)?).map_err(failed)
    }
}

/// The filter of a level or of directives.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, Fault> {
    EnvFilter::try_new(level).map_err(|e| Fault::new(format!("log.level {level:?}"), e))
}

/// Logs from here on, and tells spans to `traces`.
pub(crate) fn begin(log: &Log, traces: &Traces) -> Result<Level, Fault> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let lines: Lines = match log.format {
        LogFormat::Json => Box::new(fmt::layer().json().with_writer(stderr)),
        LogFormat::Text => Box::new(fmt::layer().with_ansi(false).with_writer(stderr)),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    let begun = registry.with(traces.layer()).try_init();
    begun.map_err(|e| Fault::new("the log", e))?;
    Ok(Level(handle))
}
