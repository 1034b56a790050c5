//! The client: one repository at a time, through its endpoints.

mod blob;
mod config;
mod dial;
mod image;
pub(crate) mod link;
mod meter;
mod request;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;

pub use blob::Blob;
pub use config::Config;
pub use image::{Fetched, Image};

use crate::Reference;
use crate::auth::token::Tokens;
use crate::auth::{Credentials, DockerConfig};
use crate::error::{Error, Kind, Result};
use crate::hosts::Hosts;
use link::Link;

/// Speaks to registries. Cheap to clone; clones share tokens.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    hosts: Hosts,
    pub(crate) tokens: Tokens,
}

impl Client {
    /// A client with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let hosts = Hosts::new(config.certs_d.clone());
        Self { shared: Arc::new(Shared { config, hosts, tokens: Tokens::default() }) }
    }

    /// Prepares to fetch from the repository of `reference`. Files of the operator's are read now, so that a
    /// change of them counts for the next pull.
    ///
    /// `credentials` are for the registry that the reference names, never for a mirror of it.
    ///
    /// # Errors
    /// [`Kind::Config`] with the file and key that is wrong.
    pub async fn repository(
        &self,
        reference: &Reference,
        credentials: Option<Credentials>,
    ) -> Result<Repository> {
        let within = |e: Error| e.within(&reference.to_string());
        let config = &self.shared.config;
        let docker = match &config.docker_config {
            Some(path) => DockerConfig::load(path).map_err(within)?,
            None => None,
        };
        let mut routes = Vec::new();
        for endpoint in self.shared.hosts.endpoints(reference.registry()).map_err(within)? {
            let explicit = credentials.clone().filter(|_| !endpoint.mirror);
            let known = explicit.or_else(|| endpoint.credentials.clone());
            let credentials = match (known, &docker) {
                (None, Some(docker)) => docker.find(&endpoint.host()).await.map_err(within)?,
                (known, _) => known,
            };
            let link = Link::new(endpoint, config).map_err(within)?;
            routes.push(Route { link, credentials });
        }
        let reference = reference.clone();
        let scope = format!("repository:{}:pull", reference.repository());
        let shared = Arc::clone(&self.shared);
        Ok(Repository { inner: Arc::new(Inner { shared, reference, scope, routes }) })
    }
}

/// One endpoint with what it is shown.
pub(crate) struct Route {
    pub(crate) link: Link,
    pub(crate) credentials: Option<Credentials>,
}

/// A repository of one registry, with its mirrors. Cheap to clone. Dropping a future or a [`Blob`] cancels it.
#[derive(Clone)]
pub struct Repository {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reference: Reference,
    pub(crate) scope: String,
    pub(crate) routes: Vec<Route>,
}

impl Repository {
    /// The reference that it was opened with.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.inner.reference
    }

    /// Hosts that are asked, in order.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        self.inner.routes.iter().map(|route| route.link.endpoint.host()).collect()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({}, through {})", self.inner.reference, self.hosts().join(", "))
    }
}

/// Reads a whole body of at most `limit` bytes, each piece within `idle`, all of it within ten times that.
pub(crate) async fn read_bounded(
    mut response: Response,
    limit: u64,
    idle: Duration,
) -> Result<Bytes> {
    let host = crate::hosts::authority(response.url());
    let too_large = || {
        Error::new(Kind::TooLarge, host.clone(), format!("answers with more than {limit} bytes"))
    };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let late = |what| Error::new(Kind::Timeout, host.clone(), what);
    let whole = async {
        let mut body = BytesMut::new();
        loop {
            let piece = tokio::time::timeout(idle, response.chunk()).await;
            let piece = piece.map_err(|_| late("the answer stopped half-way"))?;
            let Some(piece) = piece.map_err(|e| link::failure(&host, e))? else {
                return Ok(body.freeze());
            };
            if (body.len() + piece.len()) as u64 > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
    };
    let all = tokio::time::timeout(idle * 10, whole).await;
    all.map_err(|_| late("the answer takes too long"))?
}
