//! `hosts.toml` as written, and how it becomes endpoints.

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use toml::Spanned;

use super::{Endpoint, Tls, authority, default_endpoint, duration, files};
use crate::auth::{Credentials, Secret};
use crate::error::{Error, Kind, Result, quote};

/// More hosts than this are a mistake.
const MAX_HOSTS: usize = 64;

/// The whole file, hosts in the order they were written.
#[derive(Debug)]
pub(super) struct File {
    server: Option<String>,
    own: Host,
    pub(super) hosts: Vec<(String, Host)>,
}

#[derive(Deserialize)]
struct Wire {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<Spanned<String>, Host>,
}

#[derive(Debug, Deserialize, Clone)]
#[serde(untagged, expecting = "want a string or a list of strings")]
enum Texts {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize, Clone)]
#[serde(
    untagged,
    expecting = "want a path, a list of paths, or a list of [certificate, key] pairs"
)]
enum Client {
    One(String),
    Many(Vec<String>),
    Pairs(Vec<Vec<String>>),
}

/// The keys that describe one server.
#[derive(Debug, Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct Host {
    capabilities: Option<Vec<String>>,
    ca: Option<Texts>,
    client: Option<Client>,
    skip_verify: bool,
    header: BTreeMap<String, Texts>,
    override_path: bool,
    dial_timeout: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    password_file: Option<String>,
    identity_token: Option<Secret>,
    auth_realms: Vec<String>,
}

impl Texts {
    fn list(&self) -> Vec<&str> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts.iter().map(String::as_str).collect(),
        }
    }
}

fn wrong(key: &str, message: impl Into<String>) -> Error {
    Error::new(Kind::Config, key, message)
}

/// Reads `T` from TOML. The library's own error text quotes the line, which may hold a password: only its message
/// and its place are kept.
fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    let line = |e: &toml::de::Error| {
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("line {}", before.matches('\n').count() + 1)
    };
    let message = |e: &toml::de::Error| e.message().lines().next().unwrap_or_default().to_owned();
    let from = toml::Deserializer::parse(text).map_err(|e| wrong(&line(&e), message(&e)))?;
    serde_path_to_error::deserialize(from).map_err(|e| {
        let at = if e.inner().span().is_some() { line(e.inner()) + ", " } else { String::new() };
        wrong(&format!("{at}key {}", e.path()), message(e.inner()))
    })
}

impl File {
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.len() > 1 << 20 {
            return Err(wrong("", "larger than 1 MiB"));
        }
        let Wire { server, host } = read(text)?;
        // The keys of the server stand beside the others, at the top.
        let own = read(text)?;
        if host.len() > MAX_HOSTS {
            return Err(wrong("host", format!("{} hosts, at most {MAX_HOSTS}", host.len())));
        }
        let mut ordered: Vec<_> = host.into_iter().collect();
        ordered.sort_by_key(|(url, _)| url.span().start);
        let hosts = ordered.into_iter().map(|(url, host)| (url.into_inner(), host)).collect();
        let file = Self { server, own, hosts };
        file.check()?;
        Ok(file)
    }

    /// All that can be said without reading other files.
    fn check(&self) -> Result<()> {
        if let Some(server) = &self.server {
            address(server, self.own.override_path).map_err(|e| e.within("server"))?;
        }
        self.own.check()?;
        for (url, host) in &self.hosts {
            let place = format!("host.{}", quote(url));
            address(url, host.override_path).map_err(|e| e.within(&place))?;
            host.check().map_err(|e| e.within(&place))?;
        }
        Ok(())
    }

    pub(super) fn has_secrets(&self) -> bool {
        let secret = |host: &Host| host.password.is_some() || host.identity_token.is_some();
        secret(&self.own) || self.hosts.iter().any(|(_, host)| secret(host))
    }

    /// The endpoints in the order to ask: the hosts as written, then the server.
    pub(super) fn endpoints(&self, folder: &Path, registry: &str) -> Result<Vec<Endpoint>> {
        let own = authority(&default_endpoint(registry, Some("https"))?.base);
        let beside = files::docker_style(folder)?;
        let mut endpoints = Vec::new();
        for (url, host) in &self.hosts {
            let place = format!("host.{}", quote(url));
            let base = address(url, host.override_path)?;
            endpoints.push(host.endpoint(base, folder).map_err(|e| e.within(&place))?);
        }
        let base = match &self.server {
            Some(server) => address(server, self.own.override_path)?,
            None => default_endpoint(registry, None)?.base,
        };
        // A host that is the server itself stands for it.
        if !endpoints.iter().any(|known: &Endpoint| known.base == base) {
            endpoints.push(self.own.endpoint(base, folder)?);
        }
        for endpoint in &mut endpoints {
            let host = authority(&endpoint.base);
            endpoint.mirror = host != own && host != registry;
            if !endpoint.mirror && endpoint.tls.ca.is_empty() {
                endpoint.tls.ca.clone_from(&beside.ca);
            }
            if !endpoint.mirror && endpoint.tls.identity.is_none() {
                endpoint.tls.identity.clone_from(&beside.identity);
            }
        }
        Ok(endpoints)
    }
}

impl Host {
    fn check(&self) -> Result<()> {
        for name in self.capabilities.iter().flatten() {
            if !matches!(name.as_str(), "pull" | "resolve" | "push") {
                let message = format!("{}: want pull, resolve or push", quote(name));
                return Err(wrong("capabilities", message));
            }
        }
        self.dial_timeout()?;
        self.headers()?;
        let secrets =
            [self.password.is_some(), self.password_file.is_some(), self.identity_token.is_some()];
        if secrets.iter().filter(|set| **set).count() > 1 {
            return Err(wrong(
                "password",
                "want one of password, password_file and identity_token",
            ));
        }
        let by_name = self.password.is_some() || self.password_file.is_some();
        if by_name && self.username.is_none() {
            return Err(wrong("username", "is missing: password and password_file need it"));
        }
        if self.username.is_some() && !secrets.contains(&true) {
            return Err(wrong("password", "is missing: username needs password or password_file"));
        }
        for realm in &self.auth_realms {
            crate::reference::check_host(realm).map_err(|e| wrong("auth_realms", e.to_string()))?;
        }
        Ok(())
    }

    fn dial_timeout(&self) -> Result<Option<std::time::Duration>> {
        let Some(text) = &self.dial_timeout else { return Ok(None) };
        let parsed = duration::parse(text);
        parsed.map(Some).ok_or_else(|| {
            wrong("dial_timeout", format!("{}: want a time such as 3s", quote(text)))
        })
    }

    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.header {
            let key = format!("header.{}", quote(name));
            let parsed =
                HeaderName::try_from(name.as_str()).map_err(|e| wrong(&key, e.to_string()))?;
            for value in values.list() {
                // A header may carry a token: its value is in no error and no Debug.
                let mut value =
                    HeaderValue::try_from(value).map_err(|_| wrong(&key, "not a header value"))?;
                value.set_sensitive(true);
                headers.append(parsed.clone(), value);
            }
        }
        Ok(headers)
    }

    fn endpoint(&self, base: Url, folder: &Path) -> Result<Endpoint> {
        let can = |what: &str| {
            self.capabilities.as_ref().is_none_or(|list| list.iter().any(|c| c == what))
        };
        let (resolve, pull) = (can("resolve"), can("pull"));
        let mut ca = Vec::new();
        for path in self.ca.iter().flat_map(Texts::list) {
            ca.push(files::read(&folder.join(path)).map_err(|e| e.within("ca"))?);
        }
        let identity = self.identity(folder).map_err(|e| e.within("client"))?;
        let tls = Tls { ca, identity, skip_verify: self.skip_verify };
        Ok(Endpoint {
            resolve,
            pull,
            configured: true,
            tls,
            headers: self.headers()?,
            dial_timeout: self.dial_timeout()?,
            credentials: self.credentials(folder)?,
            auth_realms: self.auth_realms.iter().map(|realm| realm.to_ascii_lowercase()).collect(),
            ..Endpoint::new(base)
        })
    }

    /// The client's certificate: the first one, because one connection shows one.
    fn identity(&self, folder: &Path) -> Result<Option<Vec<u8>>> {
        let both = |cert: &str| files::pair(&folder.join(cert), None).map(Some);
        match &self.client {
            None => Ok(None),
            Some(Client::One(path)) => both(path),
            Some(Client::Many(paths)) => paths.first().map_or(Ok(None), |path| both(path)),
            Some(Client::Pairs(pairs)) => match pairs.first().map(Vec::as_slice) {
                None => Ok(None),
                Some([cert]) => both(cert),
                Some([cert, key]) if key.is_empty() => both(cert),
                Some([cert, key]) => {
                    files::pair(&folder.join(cert), Some(&folder.join(key))).map(Some)
                }
                Some(_) => Err(Error::new(Kind::Config, "", "want [certificate, key]")),
            },
        }
    }

    fn credentials(&self, folder: &Path) -> Result<Option<Credentials>> {
        if let Some(token) = &self.identity_token {
            return Ok(Some(Credentials::Identity { token: token.clone() }));
        }
        let Some(username) = self.username.clone() else { return Ok(None) };
        let password = match (&self.password, &self.password_file) {
            (Some(password), _) => password.clone(),
            (None, Some(path)) => Secret::new(
                files::read_secret(&folder.join(path)).map_err(|e| e.within("password_file"))?,
            ),
            (None, None) => return Ok(None),
        };
        Ok(Some(Credentials::Password { username, password }))
    }
}

/// A server's address with `/v2` at its end; without a scheme it means TLS.
fn address(text: &str, override_path: bool) -> Result<Url> {
    let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    // The address is not repeated whole: it may hold a password.
    let mut url = Url::parse(&full).map_err(|e| wrong("", "not an address").because(&e))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("", "want http:// or https:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("", "has a user name in it").advise("use username and password_file"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("", "has a query or fragment"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let keep = override_path || path.rsplit('/').next() == Some("v2");
    url.set_path(&if keep { path } else { format!("{path}/v2") });
    Ok(url)
}
