//! What happens on a connection after its upgrade.

use crate::link::{Activity, Link};
use crate::negotiate::Protocol;
use crate::server::Shared;
use crate::tokens::Request;
use crate::{command, ports};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long a client may take to go after everything was told. Closing earlier could take from it
/// what is still on its way.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// A client's request, and how it wants it.
pub(crate) struct Job {
    pub(crate) shared: Arc<Shared>,
    pub(crate) request: Request,
    pub(crate) protocol: Protocol,
    /// Ports that are named in the URL's query.
    pub(crate) ports: Vec<u16>,
}

/// Serves a request to its end.
pub(crate) async fn run(job: Job, link: Link) {
    let verb = job.request.verb();
    let shared = Arc::clone(&job.shared);
    let served = tokio::select! {
        () = shared.ended() => Ok(()),
        served = serve(job, link) => served,
    };
    if let Err(cause) = served {
        tracing::debug!(%cause, verb, "a stream broke");
    }
}

async fn serve(job: Job, link: Link) -> io::Result<()> {
    let Job { shared, request, protocol, ports } = job;
    let command = match request {
        Request::Exec(exec) => command::Request::Exec(exec),
        Request::Attach(attach) => command::Request::Attach(attach),
        Request::PortForward(mut wanted) => {
            if !ports.is_empty() {
                wanted.ports = ports;
            }
            return forward(shared, wanted, protocol, link).await;
        }
    };
    let command = command::Command { shared, request: command };
    match protocol {
        Protocol::CommandChannels { version, base64 } => {
            command::channels::serve(command, link, version, base64).await
        }
        Protocol::CommandStreams { version } => {
            command::streams::serve(command, link, version).await
        }
        _ => Err(io::Error::other("a protocol of ports was agreed on for a command")),
    }
}

async fn forward(
    shared: Arc<Shared>,
    wanted: crate::PortForward,
    protocol: Protocol,
    link: Link,
) -> io::Result<()> {
    let idle = shared.settings.idle_timeout;
    let activity: Arc<Activity> = Arc::clone(&link.activity);
    let target = ports::Target { shared, pod: wanted.pod.into(), activity: Arc::clone(&activity) };
    let served = async {
        match protocol {
            Protocol::PortChannels { base64 } => {
                ports::channels::serve(target, link, &wanted.ports, base64).await
            }
            Protocol::PortStreams => ports::streams::serve(target, link).await,
            Protocol::PortTunnel => ports::streams::serve_tunnel(target, link).await,
            _ => Err(io::Error::other("a protocol of commands was agreed on for ports")),
        }
    };
    tokio::select! {
        () = activity.idle(idle) => Err(io::Error::new(io::ErrorKind::TimedOut, "no data for too long")),
        served = served => served,
    }
}
