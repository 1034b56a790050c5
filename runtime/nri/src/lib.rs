//! The Node Resource Interface: plugins that look at pods and containers, and adjust them.
//!
//! [`Nri`] is what `container` and `sandbox` ask at the points of their [hooks](container::Hooks). It
//! tells plugins, which connect to a socket or are started from a directory, one event at a time and in
//! the order of their indices; makes one adjustment of what all want; and puts that into the container's
//! configuration. The protocol is that of containerd's NRI 0.12: ttrpc in both directions over one socket.
//!
//! # What is guaranteed
//! - **Nothing is missed.** Who joins hears what is there, and of everything that is made after that,
//!   whatever goes on meanwhile. A container is told before it is listed; its end is told once, and
//!   before its removal.
//! - **Two that set the same are an error** that names both.
//! - **It fails closed.** A plugin that hangs, hangs up or sends garbage is dropped, and holds the node up
//!   once, for as long as a plugin may. A container that requires it is not made from then on, and
//!   is told why.
//! - **Without plugins it costs nothing** but a look at an empty list.

mod apply;
mod book;
mod describe;
mod hooks;
mod join;
mod launch;
mod limits;
pub mod link;
mod measure;
mod merge;
mod nri;
mod owners;
mod plugin;
mod settings;
mod socket;
mod validate;
pub mod wire;

/// Package `nri.pkg.api.v1alpha1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines,
    reason = "generated; proto/v1alpha1.proto has the documentation"
)]
#[rustfmt::skip]
pub mod v1alpha1;

pub use nri::Nri;
pub use settings::{Refused, Settings};

use container::{Containers, Result};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;
use v1alpha1::Empty;

/// How long a plugin may take to hear that this ends.
const SHUTDOWN: Duration = Duration::from_millis(500);

impl Nri {
    /// An interface without plugins yet, to be given to what has hooks.
    #[must_use]
    pub fn new(settings: Settings) -> Nri {
        Nri { inner: Arc::new(nri::Inner::new(settings)) }
    }

    /// Takes plugins from now on: starts those of the directory and waits until each has heard what is
    /// there, then listens for others. To be called within a tokio runtime.
    ///
    /// # Errors
    /// The directory, a configuration or the socket is not usable. That a plugin does not come up is
    /// told in the log.
    pub async fn begin(&self, containers: Containers) -> Result<()> {
        self.inner.attach(containers);
        launch::launch(&self.inner).await?;
        socket::listen(&self.inner)
    }

    /// Ends: tells all plugins, and ends those that were started.
    pub async fn end(&self) {
        self.inner.over.send_replace(true);
        for plugin in self.inner.book.plugins() {
            if let Err(failure) = plugin.ask::<_, Empty>("Shutdown", &Empty {}, SHUTDOWN).await {
                tracing::debug!(plugin = plugin.name, cause = %failure, "was not told of the end");
            }
            self.inner.book.remove(&plugin, "was told that the runtime ends");
            plugin.end("was told that the runtime ends");
        }
    }

    /// Counters and latencies of plugins, for Prometheus.
    pub fn register(&self, registry: &mut Registry) {
        self.inner.measure.register(registry);
    }
}
