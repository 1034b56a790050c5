//! The way to one server: connections, redirects by hand, failures in kinds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Certificate, Identity, Method, Response, StatusCode, Url};

use super::config::Config;
use super::dial::{Forbidden, Gate, Resolver, Side, Standing};
use crate::auth::token::Scheme;
use crate::error::{Error, Kind, Result, quote};
use crate::hosts::{Endpoint, authority, is_loopback_name};

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;

/// One server and the connections to it.
pub(crate) struct Link {
    pub(crate) endpoint: Endpoint,
    /// For the server itself: shows the client's certificate.
    own: reqwest::Client,
    /// For hosts that the server names: never does. Made when there is such a host.
    foreign: tokio::sync::OnceCell<reqwest::Client>,
    config: Config,
    gate: Arc<Gate>,
    /// How the server wants to be authenticated to, once it has said so.
    pub(crate) scheme: std::sync::Mutex<Option<Scheme>>,
    /// Served content that was not what its digest says.
    distrusted: AtomicBool,
}

/// A request, before it is known whom it ends up with.
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) authorization: Option<HeaderValue>,
    /// The body of a POST.
    pub(crate) form: Option<String>,
}

/// An answer, and whether it is from the registry itself.
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) own: bool,
}

impl Link {
    pub(crate) fn new(endpoint: Endpoint, config: &Config) -> Result<Self> {
        let standing = if endpoint.configured {
            Standing::Configured
        } else if is_loopback_name(&endpoint.host()) {
            Standing::Local
        } else {
            Standing::Named
        };
        let gate = Arc::new(Gate::new(standing));
        let own =
            connector(&endpoint, config, Resolver { gate: Arc::clone(&gate), side: Side::Own })?;
        Ok(Self {
            endpoint,
            own,
            foreign: tokio::sync::OnceCell::new(),
            config: config.clone(),
            gate,
            scheme: std::sync::Mutex::new(None),
            distrusted: AtomicBool::new(false),
        })
    }

    /// Remembers that content from here was not what it should be.
    pub(crate) fn distrust(&self) {
        self.distrusted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_distrusted(&self) -> bool {
        self.distrusted.load(Ordering::Relaxed)
    }

    /// An address below the API's, with `ns` where this server stands in for another.
    pub(crate) fn url(&self, path: &str, namespace: &str) -> Url {
        let mut url = self.endpoint.base.clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        if self.endpoint.mirror {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    /// Sends a request to the server and follows its redirects: at most five, never from TLS to plain HTTP, and
    /// without credentials or configured headers as soon as they leave the server.
    pub(crate) async fn send(&self, ask: Ask) -> Result<Answer> {
        let mut url = ask.url;
        let mut own = true;
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = ask.headers.clone();
            if own {
                for (name, value) in &self.endpoint.headers {
                    headers.append(name, value.clone());
                }
            }
            let hop = Ask {
                method: ask.method.clone(),
                url: url.clone(),
                headers,
                authorization: ask.authorization.clone().filter(|_| own),
                form: None,
            };
            let response = self.once(own, hop).await?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED
            {
                return Ok(Answer { response, own });
            }
            let next = self.next_hop(&url, &response)?;
            // What has left the server once stays without credentials.
            own = own && next.origin() == self.endpoint.base.origin();
            url = next;
        }
        let message = format!("more than {MAX_REDIRECTS} redirects");
        Err(Error::new(Kind::Refused, self.endpoint.host(), message))
    }

    async fn foreign(&self) -> Result<&reqwest::Client> {
        let made = self.foreign.get_or_try_init(|| async {
            let mut bare = self.endpoint.clone();
            bare.tls.identity = None;
            bare.tls.skip_verify = false;
            let resolver = Resolver { gate: Arc::clone(&self.gate), side: Side::Foreign };
            connector(&bare, &self.config, resolver)
        });
        made.await
    }

    fn next_hop(&self, from: &Url, response: &Response) -> Result<Url> {
        let refuse = |why: &str| Error::new(Kind::Refused, self.endpoint.host(), why);
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| refuse("redirects without saying where"))?;
        let next = from.join(location).map_err(|_| refuse("redirects to what is no address"))?;
        let place = quote(&authority(&next));
        if !matches!(next.scheme(), "http" | "https") {
            return Err(refuse(&format!(
                "redirects to {}, not http or https",
                quote(next.scheme())
            )));
        }
        if from.scheme() == "https" && next.scheme() == "http" {
            return Err(refuse(&format!("redirects from TLS to plain HTTP at {place}")));
        }
        if !next.username().is_empty() || next.password().is_some() {
            return Err(refuse(&format!("redirects to {place} with a user name in the address")));
        }
        Ok(next)
    }

    /// One request to one host.
    async fn once(&self, own: bool, ask: Ask) -> Result<Response> {
        let host = authority(&ask.url);
        let side = if own { Side::Own } else { Side::Foreign };
        let checked = self.gate.check_literal(side, &ask.url);
        checked.map_err(|e| forbidden(&self.endpoint.host(), &e))?;
        let client = if own { &self.own } else { self.foreign().await? };
        let mut request = client.request(ask.method, ask.url).headers(ask.headers);
        if let Some(value) = ask.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(form) = ask.form {
            request = request.body(form);
        }
        let late = || {
            let message =
                format!("no answer within {} s", self.config.response_timeout.as_secs_f32());
            Error::new(Kind::Timeout, host.clone(), message)
        };
        match tokio::time::timeout(self.config.response_timeout, request.send()).await {
            Ok(sent) => sent.map_err(|e| failure(&host, e)),
            Err(_) => Err(late()),
        }
    }

    /// One request to a token service, redirects not followed: it may carry credentials.
    pub(crate) async fn ask_realm(&self, ask: Ask) -> Result<Response> {
        let own = ask.url.origin() == self.endpoint.base.origin();
        self.once(own, ask).await
    }
}

fn connector(endpoint: &Endpoint, config: &Config, resolver: Resolver) -> Result<reqwest::Client> {
    // Fails when the program has chosen a provider already: that one is fine too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let wrong = |what: &str, e: reqwest::Error| {
        Error::new(Kind::Config, format!("{}: {what}", endpoint.host()), "not usable").because(&e)
    };
    let mut authorities = Vec::new();
    for pem in &endpoint.tls.ca {
        let found = Certificate::from_pem_bundle(pem).map_err(|e| wrong("ca", e))?;
        if found.is_empty() {
            return Err(Error::new(
                Kind::Config,
                format!("{}: ca", endpoint.host()),
                "no certificate in the PEM file",
            ));
        }
        authorities.extend(found);
    }
    let identity = endpoint.tls.identity.as_ref();
    let identity =
        identity.map(|pem| Identity::from_pem(pem)).transpose().map_err(|e| wrong("client", e))?;
    let side = resolver.side;
    let resolver = Arc::new(resolver);
    let build = |roots_of_system: bool| {
        let timeout = endpoint.dial_timeout.unwrap_or(config.connect_timeout);
        let mut builder = reqwest::Client::builder()
            .user_agent(&config.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .dns_resolver(Arc::clone(&resolver))
            .tls_danger_accept_invalid_certs(endpoint.tls.skip_verify);
        if let Some(identity) = identity.clone() {
            builder = builder.identity(identity);
        }
        let roots = authorities.clone();
        if roots_of_system { builder.tls_certs_merge(roots) } else { builder.tls_certs_only(roots) }
            .build()
    };
    // Reading the system's authorities takes milliseconds, and plain HTTP to the own host needs none.
    if endpoint.base.scheme() == "http" && matches!(side, Side::Own) {
        return build(false).map_err(|e| wrong("TLS", e));
    }
    // A node may have no authorities of its own: then only the configured ones count.
    build(true).or_else(|_| build(false)).map_err(|e| wrong("TLS", e))
}

fn forbidden(host: &str, cause: &Forbidden) -> Error {
    Error::new(Kind::Refused, host, "address not allowed")
        .because(cause)
        .advise("only a host with a hosts.toml of its own may be at such an address")
}

/// Finds what a failed request was about; the address is left out, since it may hold a signature.
pub(crate) fn failure(host: &str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    let (kind, message) = if find::<Forbidden>(&error) {
        (Kind::Refused, "address not allowed")
    } else if find::<rustls::Error>(&error) {
        (Kind::Tls, "TLS failed")
    } else if error.is_timeout() {
        (Kind::Timeout, "deadline passed")
    } else if error.is_connect() {
        (Kind::Unavailable, "cannot connect")
    } else {
        (Kind::Unavailable, "the transfer broke")
    };
    let failed = Error::new(kind, host, message).because(&error);
    if kind == Kind::Tls { failed.advise("set ca in this host's hosts.toml") } else { failed }
}

/// Whether `T` is in the chain below `error`. An I/O error hides what it wraps from its own chain.
fn find<T: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(at) = next {
        if at.is::<T>() {
            return true;
        }
        let io = at.downcast_ref::<std::io::Error>();
        if let Some(inner) = io.and_then(std::io::Error::get_ref)
            && find::<T>(inner)
        {
            return true;
        }
        next = at.source();
    }
    false
}
