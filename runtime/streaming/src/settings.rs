//! What the server is told when it is made.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The host of URLs, where clients know the node by another name than the address.
    pub host: Option<String>,
    /// Serve https; otherwise http.
    pub tls: Option<Tls>,
    /// How long a URL may wait for its client.
    pub token_ttl: Duration,
    /// URLs that may wait for their clients at one time.
    pub max_tokens: usize,
    /// Connections at one time.
    pub max_connections: usize,
    /// Streams without a byte in any direction for so long are ended.
    pub idle_timeout: Duration,
    /// How long a client may take to open the streams of its request.
    pub stream_creation_timeout: Duration,
}

/// A key pair for https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain, PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Certificates of authorities, PEM: with them, clients must show a certificate of one of these.
    pub client_ca: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            host: None,
            tls: None,
            token_ttl: Duration::from_secs(60),
            max_tokens: 1000,
            max_connections: 1000,
            idle_timeout: Duration::from_secs(4 * 3600),
            stream_creation_timeout: Duration::from_secs(30),
        }
    }
}
