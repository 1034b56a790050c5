//! The server: its listener, its URLs, its end.

use crate::tokens::{Request, Tokens};
use crate::{Attach, Backend, Error, Exec, Kind, PortForward, Result, Settings, http, tls};
use rustls::ServerConfig;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How long a client may take for its TLS handshake, and for the head of its request.
pub(crate) const HELLO: Duration = Duration::from_secs(10);

/// Serves exec, attach and port-forward URLs. It stops to listen when it is dropped; streams that
/// have begun go on unless [`Server::stop`] ends them.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// What every connection needs.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) tokens: Tokens,
    tls: RwLock<Option<Arc<ServerConfig>>>,
    connections: Arc<Semaphore>,
    phase: watch::Sender<Phase>,
}

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Ended,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens at the address of `settings` and serves from then on.
    ///
    /// # Errors
    /// The address cannot be listened at, or a file of the key pair is of no use.
    pub async fn bind(settings: Settings, backend: Arc<dyn Backend>) -> Result<Server> {
        let config = settings.tls.as_ref().map(tls::load).transpose()?;
        let taken = |cause| {
            Error::new(Kind::Io, format!("streaming address {}", settings.address), cause)
                .with_advice("is another runtime listening there? port 0 takes a free one")
        };
        let listener = TcpListener::bind(settings.address).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let shared = Arc::new(Shared {
            tokens: Tokens::new(settings.token_ttl, settings.max_tokens),
            tls: RwLock::new(config),
            connections: Arc::new(Semaphore::new(permits(&settings) as usize)),
            phase: watch::Sender::new(Phase::Serving),
            settings,
            backend,
        });
        tokio::spawn(accept(Arc::clone(&shared), listener));
        Ok(Server { shared, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL at which one client may run `exec`.
    ///
    /// # Errors
    /// The request makes no sense ([`Kind::Invalid`]), or too many URLs wait for their clients
    /// ([`Kind::Exhausted`]).
    pub fn exec_url(&self, exec: Exec) -> Result<String> {
        exec.check()?;
        self.url(Request::Exec(exec))
    }

    /// A URL at which one client may attach.
    ///
    /// # Errors
    /// As [`Server::exec_url`].
    pub fn attach_url(&self, attach: Attach) -> Result<String> {
        attach.check()?;
        self.url(Request::Attach(attach))
    }

    /// A URL at which one client may forward ports.
    ///
    /// # Errors
    /// As [`Server::exec_url`].
    pub fn port_forward_url(&self, forward: PortForward) -> Result<String> {
        forward.check()?;
        self.url(Request::PortForward(forward))
    }

    /// Reads the key pair again, for connections from now on.
    ///
    /// # Errors
    /// A file is of no use; what was read before stays.
    pub fn renew_tls(&self) -> Result<()> {
        if let Some(files) = &self.shared.settings.tls {
            let config = tls::load(files)?;
            *self.shared.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(config);
        }
        Ok(())
    }

    /// Takes no more clients, lets those that are there finish, and ends them after `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.shared.phase.send_replace(Phase::Draining);
        let all = permits(&self.shared.settings);
        let drained = self.shared.connections.acquire_many(all);
        if tokio::time::timeout(grace, drained).await.is_err() {
            self.shared.phase.send_replace(Phase::Ended);
        }
    }

    fn url(&self, request: Request) -> Result<String> {
        let settings = &self.shared.settings;
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let host = settings.host.clone().unwrap_or_else(|| reachable(self.address.ip()));
        let (port, verb) = (self.address.port(), request.verb());
        let token = self.shared.tokens.issue(request)?;
        Ok(format!("{scheme}://{host}:{port}/{verb}/{token}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.phase.send_if_modified(|phase| {
            let serving = *phase == Phase::Serving;
            if serving {
                *phase = Phase::Draining;
            }
            serving
        });
    }
}

impl Shared {
    /// Returns when every connection is to end.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as this, so that there is always an answer.
        let _ = self.phase.subscribe().wait_for(|phase| *phase == Phase::Ended).await;
    }

    async fn draining(&self) {
        let _ = self.phase.subscribe().wait_for(|phase| *phase >= Phase::Draining).await;
    }
}

/// A semaphore takes no more than this.
fn permits(settings: &Settings) -> u32 {
    settings.max_connections.clamp(1, 1 << 20) as u32
}

/// A host for URLs: kubelet, which follows them, is on this node.
fn reachable(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let next = async {
            let permit = Arc::clone(&shared.connections).acquire_owned().await.ok()?;
            Some((listener.accept().await, permit))
        };
        let accepted = tokio::select! {
            () = shared.draining() => return,
            accepted = next => accepted,
        };
        match accepted {
            None => return,
            Some((Ok((stream, _)), permit)) => {
                tokio::spawn(greet(Arc::clone(&shared), stream, permit));
            }
            Some((Err(cause), _)) => {
                tracing::warn!(%cause, "a streaming client could not be accepted");
                // Without descriptors the next try fails as well: do not spin.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Shakes hands with a client and reads its request.
async fn greet(shared: Arc<Shared>, stream: TcpStream, permit: OwnedSemaphorePermit) {
    if let Err(cause) = stream.set_nodelay(true) {
        tracing::debug!(%cause, "a streaming client is gone");
        return;
    }
    let config = shared.tls.read().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(config) = config else {
        return http::serve(shared, stream, permit).await;
    };
    let shake = tokio_rustls::TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(HELLO, shake).await {
        Ok(Ok(stream)) => http::serve(shared, stream, permit).await,
        Ok(Err(cause)) => tracing::debug!(%cause, "the TLS handshake of a client failed"),
        Err(_) => tracing::debug!("a client took too long for its TLS handshake"),
    }
}
