//! Where an image's content comes from: mirrors and the registry itself, as `certs.d` says.
//!
//! The format is containerd's `certs.d/<host>/hosts.toml`, with credentials per host added; a folder without
//! that file may hold Docker's `*.crt`, `*.cert` and `*.key` files. See the crate's README for every key.

mod duration;
mod files;
mod wire;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::auth::Credentials;
use crate::error::{Error, Kind, Result, quote};

/// One server to ask, with all that is needed to speak to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Address of the API, with the `/v2` at its end.
    pub(crate) base: Url,
    /// May say which digest a tag has.
    pub(crate) resolve: bool,
    /// May be asked for content by digest.
    pub(crate) pull: bool,
    /// Stands in for another registry, whose name is sent as `ns`.
    pub(crate) mirror: bool,
    /// Comes from a file of the operator's, not from an image reference alone.
    pub(crate) configured: bool,
    /// How to trust it.
    pub(crate) tls: Tls,
    /// Sent with every request to it, and to no other host.
    pub(crate) headers: HeaderMap,
    /// Deadline of connecting.
    pub(crate) dial_timeout: Option<Duration>,
    /// The operator's credentials for it.
    pub(crate) credentials: Option<Credentials>,
    /// Further hosts that may receive its credentials as token services.
    pub(crate) auth_realms: Vec<String>,
}

/// Trust in a server, and this client's own certificate.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// Certificate authorities in PEM, added to the system's.
    pub(crate) ca: Vec<Vec<u8>>,
    /// Client certificate chain followed by its key, in PEM.
    pub(crate) identity: Option<Vec<u8>>,
    /// The server's certificate is not checked; digests still are.
    pub(crate) skip_verify: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (ca, client) = (self.ca.len(), self.identity.is_some());
        write!(
            f,
            "Tls {{ ca: {ca}, client certificate: {client}, skip_verify: {} }}",
            self.skip_verify
        )
    }
}

impl Endpoint {
    fn new(base: Url) -> Self {
        Self {
            base,
            resolve: true,
            pull: true,
            mirror: false,
            configured: false,
            tls: Tls::default(),
            headers: HeaderMap::new(),
            dial_timeout: None,
            credentials: None,
            auth_realms: Vec::new(),
        }
    }

    /// Host and port as they appear in errors and in `config.json`.
    #[must_use]
    pub fn host(&self) -> String {
        authority(&self.base)
    }

    /// Address of the API.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// Whether it stands in for another registry.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.mirror
    }

    /// Whether credentials are configured for it in `hosts.toml`.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }
}

/// `host` or `host:port` of a URL.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The folders that hold the operator's registry configuration, the first with an answer wins.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    roots: Vec<PathBuf>,
}

impl Hosts {
    /// Looks in `roots`, in this order.
    #[must_use]
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots }
    }

    /// The servers for `registry` (host, or host with port), in the order to ask them.
    ///
    /// # Errors
    /// [`Kind::Config`] with the file and the key that is wrong.
    pub fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>> {
        for name in [registry.to_owned(), with_port(registry), "_default".to_owned()] {
            for root in &self.roots {
                let folder = root.join(&name);
                if folder.is_dir() {
                    return from_folder(&folder, registry);
                }
            }
        }
        Ok(vec![plain_endpoint(registry)?])
    }
}

/// The other spelling of a folder's name, without a colon: `host_port_`.
fn with_port(registry: &str) -> String {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => format!("{host}_{port}_"),
        _ => registry.to_owned(),
    }
}

fn from_folder(folder: &Path, registry: &str) -> Result<Vec<Endpoint>> {
    let file = folder.join("hosts.toml");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let mut endpoint = default_endpoint(registry, Some("https"))?;
            endpoint.configured = true;
            endpoint.tls = files::docker_style(folder)?;
            return Ok(vec![endpoint]);
        }
        Err(e) => {
            let subject = file.display().to_string();
            return Err(Error::new(Kind::Config, subject, "cannot read").because(&e));
        }
    };
    let parsed = HostsFile::parse(&text).map_err(|e| e.within(&file.display().to_string()))?;
    if parsed.0.has_secrets() {
        files::check_private(&file)?;
    }
    parsed.0.endpoints(folder, registry).map_err(|e| e.within(&file.display().to_string()))
}

/// A `hosts.toml`, parsed; the files that it names are read by [`Hosts::endpoints`].
#[derive(Debug)]
pub struct HostsFile(wire::File);

impl HostsFile {
    /// Parses the text of a `hosts.toml`.
    ///
    /// # Errors
    /// [`Kind::Config`] with the line or the key that is wrong, never with a value that may be a secret.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self(wire::File::parse(text)?))
    }

    /// The addresses of its hosts, in the order they are tried.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.0.hosts.iter().map(|(url, _)| url.as_str())
    }
}

/// The registry itself with nothing configured: TLS, except on the loopback device.
fn plain_endpoint(registry: &str) -> Result<Endpoint> {
    default_endpoint(registry, None)
}

fn default_endpoint(registry: &str, scheme: Option<&str>) -> Result<Endpoint> {
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let secure = if is_loopback_name(host) { "http" } else { "https" };
    let scheme = scheme.unwrap_or(secure);
    let url = Url::parse(&format!("{scheme}://{host}/v2")).map_err(|e| {
        Error::new(Kind::Invalid, format!("registry {}", quote(registry)), "no host name")
            .because(&e)
    })?;
    Ok(Endpoint::new(url))
}

/// Whether `host[:port]` is `localhost` or a loopback address as written, without asking DNS.
pub(crate) fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
