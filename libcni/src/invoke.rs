//! The seam between the chain's logic and the programs it runs.

use cni_exec::{Output, Verb};
use cni_types::PluginType;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

/// One call of one plugin, ready to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The executable.
    pub program: PathBuf,
    /// `type` of the plugin.
    pub plugin: PluginType,
    /// `CNI_COMMAND`.
    pub verb: Verb,
    /// Variables to set beside those inherited. `CNI_*` parameters that are not listed are
    /// removed from the environment of the plugin.
    pub env: Vec<(String, String)>,
    /// The configuration, for standard input.
    pub stdin: Vec<u8>,
}

/// A boxed future, so that [`Invoke`] can be a trait object.
pub type InvokeFuture<'a> = Pin<Box<dyn Future<Output = std::io::Result<Output>> + Send + 'a>>;

/// Who finds and runs plugins. [`crate::Programs`] does so for real; tests script one.
pub trait Invoke: Send + Sync + fmt::Debug {
    /// The executable of `plugin`, looked for in `dirs` in order.
    ///
    /// # Errors
    /// When there is none: what was looked for, and where.
    fn find(&self, plugin: &PluginType, dirs: &[PathBuf]) -> Result<PathBuf, cni_types::Error>;

    /// Runs one call to its end.
    ///
    /// `started` is told the process ID as soon as there is one. When the future is dropped the
    /// plugin and its children must be killed before the drop returns: that is how a deadline and
    /// a cancelled caller end a call.
    fn run<'a>(
        &'a self,
        call: &'a Invocation,
        started: &'a (dyn Fn(u32) + Send + Sync),
    ) -> InvokeFuture<'a>;
}

/// One finished call of a plugin, for logs and metrics.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// The network.
    pub network: String,
    /// `type` of the plugin.
    pub plugin: String,
    /// The executable.
    pub program: PathBuf,
    /// What was asked.
    pub verb: Verb,
    /// `CNI_CONTAINERID`; empty for GC, STATUS and VERSION.
    pub container_id: String,
    /// From start to answer.
    pub took: Duration,
    /// What the plugin wrote to its standard error, at most the last 4 KiB.
    pub stderr: String,
    /// The failure in one line, if it failed.
    pub failure: Option<String>,
}

/// One call of a plugin that is about to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallBegun<'a> {
    /// The network.
    pub network: &'a str,
    /// `type` of the plugin.
    pub plugin: &'a str,
    /// What is asked.
    pub verb: Verb,
    /// `CNI_CONTAINERID`; empty for GC, STATUS and VERSION.
    pub container_id: &'a str,
}

/// Who is told about every call.
pub trait Observe: Send + Sync + fmt::Debug {
    /// Called before each call, from the task that runs it.
    fn begun(&self, _call: &CallBegun<'_>) {}

    /// Called once for each call, in order, from the task that ran it.
    fn finished(&self, report: &CallReport);
}
