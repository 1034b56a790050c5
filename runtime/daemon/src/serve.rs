//! The daemon's life: open, serve, reload, drain.

use crate::configure::mistake;
use crate::fault::Fault;
use crate::log::Level;
use crate::notify::Supervisor;
use crate::open::{Opened, open};
use crate::traces::Traces;
use crate::{scrape, socket};
use prometheus_client::registry::Registry;
use runtime_config::Config;
use std::future::Future;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

/// How long work without a caller may go on when the daemon ends.
const LAST_WORK: Duration = Duration::from_secs(60);

/// Serves until the daemon is asked to end.
pub(crate) fn run(file: &Path) -> Result<(), Fault> {
    let config = Config::load(file).map_err(mistake)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Fault::new("threads", e))?;
    let traces = runtime.block_on(async { Traces::new(&config.tracing) })?;
    let level = crate::log::begin(&config.log, &traces)?;
    let outcome = runtime.block_on(serve(file, &config, &level));
    traces.end();
    // A thread that hangs in the kernel must not keep the daemon from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(file: &Path, config: &Config, level: &Level) -> Result<(), Fault> {
    let supervisor = Supervisor::from_env();
    let signals = Signals::new()?;
    // The socket first: it says whether another daemon is at work.
    let (listener, _socket) = socket::listen(&config.server.socket, config.server.group)?;
    let opened = open(config).await?;
    if !config.metrics.address.is_empty() {
        let mut registry = Registry::default();
        opened.cri.register(&mut registry);
        opened.nri.register(&mut registry);
        registry.register_collector(Box::new(scrape::Rooms(opened.parts.clone())));
        scrape::begin(&config.metrics.address, registry).await?;
    }
    tokio::spawn(crate::memory::give_back());
    let ended = tokio::sync::Notify::new();
    let server = Server::builder()
        .trace_fn(crate::traces::of_call)
        .add_service(opened.cri.runtime_service())
        .add_service(opened.cri.image_service())
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), ended.notified());
    supervisor.tell("READY=1");
    tracing::info!(socket = %config.server.socket.display(), version = env!("CARGO_PKG_VERSION"), "serving");
    tokio::pin!(server);
    let mut until = signals;
    tokio::select! {
        outcome = &mut server => {
            return outcome.map_err(|e| Fault::new(config.server.socket.display(), e));
        }
        () = supervisor.keep_alive() => {}
        () = until.asked_to_end(|| reload(file, level, &opened, &supervisor)) => {}
    }
    supervisor.tell("STOPPING=1");
    ended.notify_one();
    drain(config, opened, server).await;
    Ok(())
}

/// Lets calls finish for a while, then work without a caller.
async fn drain(
    config: &Config,
    opened: Opened,
    server: impl Future<Output = Result<(), tonic::transport::Error>>,
) {
    let grace = config.server.drain.0;
    let calls = async {
        let (served, ()) = tokio::join!(server, opened.cri.end_streams(grace));
        served
    };
    match tokio::time::timeout(grace, calls).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::warn!(cause = %e, "the server ended"),
        Err(_) => tracing::warn!(?grace, "calls did not finish in time; their callers are left"),
    }
    let rest = async {
        opened.parts.containers.drain().await;
        opened.parts.pods.drain().await;
        opened.parts.images.idle().await;
    };
    if tokio::time::timeout(LAST_WORK, rest).await.is_err() {
        tracing::warn!("work goes on that does not end; the next start undoes what is half done");
    }
    // Last: that work has events.
    opened.nri.end().await;
    tracing::info!("ended; containers go on");
}

/// Takes up what can change while the daemon runs.
fn reload(file: &Path, level: &Level, opened: &Opened, supervisor: &Supervisor) {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
    supervisor.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    let outcome = Config::load(file).map_err(mistake).and_then(|config| {
        level.set(&config.log.level)?;
        opened.cri.streams().renew_tls().map_err(|e| Fault::new("streaming.tls", e))
    });
    match outcome {
        Ok(()) => tracing::info!("the configuration was read again"),
        Err(fault) => tracing::error!(cause = %fault, "not reloaded: all stays as it was"),
    }
    supervisor.tell("READY=1");
}

/// The signals that the daemon minds.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Signals, Fault> {
        let of = |kind| signal(kind).map_err(|e| Fault::new("signals", e));
        Ok(Signals {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hangup: of(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT; each SIGHUP in between is a reload.
    async fn asked_to_end(&mut self, reload: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(),
            }
        }
    }
}
