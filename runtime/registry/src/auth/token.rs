//! From a challenge to the value of an `Authorization` header.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;

use super::challenge::Challenge;
use super::{Credentials, Secret, realm};
use crate::client::link::{Ask, Link};
use crate::client::read_bounded;
use crate::error::{Error, Kind, Result};
use crate::spec::Digest;

/// An answer of a token service is never larger, in bytes.
const MAX_ANSWER: u64 = 64 << 10;
/// Tokens kept at once.
const MAX_TOKENS: usize = 1024;
/// How long a token lives whose service does not say (distribution's token specification).
const DEFAULT_LIFE: u64 = 60;

/// How a server wants to be authenticated to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Name and password with every request.
    Basic,
    /// A token of a service.
    Bearer {
        /// The service's address, as the server wrote it.
        realm: String,
        /// The server's name there.
        service: Option<String>,
        /// What to ask for.
        scope: String,
    },
}

impl Scheme {
    /// The best of what the server offers that this client can do.
    /// `own` is the scope that this client would ask for.
    pub(crate) fn choose(challenges: Vec<Challenge>, own: &str) -> Option<Self> {
        let mut basic = None;
        for mut challenge in challenges {
            match challenge.scheme.as_str() {
                "bearer" => {
                    if let Some(realm) = challenge.params.remove("realm") {
                        let service = challenge.params.remove("service");
                        let scope = challenge.params.remove("scope").unwrap_or_default();
                        let scope = narrowed(&scope, own).unwrap_or_else(|| own.to_owned());
                        return Some(Self::Bearer { realm, service, scope });
                    }
                }
                "basic" => basic = Some(Self::Basic),
                _ => {}
            }
        }
        basic
    }
}

/// The scope that a mirror asks for, when it is the same repository below a prefix (`proxy/library/x` for
/// `library/x`), cut down to pulling; anything else is not what the pull is about.
fn narrowed(scope: &str, own: &str) -> Option<String> {
    let name = |scope: &str| {
        let (kind, rest) = scope.split_once(':')?;
        let (name, _) = rest.rsplit_once(':')?;
        (kind == "repository").then(|| name.to_owned())
    };
    let (wanted, own) = (name(scope)?, name(own)?);
    let fine = wanted == own || wanted.ends_with(&format!("/{own}"));
    fine.then(|| format!("repository:{wanted}:pull"))
}

/// Tokens by server, scope and the credentials they were given for.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<Key, (Secret, Instant)>>);

/// Nobody gets a token that someone else's credentials bought.
type Key = (String, String, Digest);

#[derive(Deserialize)]
struct Answer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<u64>,
}

/// One who asks: whose credentials, for what.
pub(crate) struct Bearer<'a> {
    pub(crate) link: &'a Link,
    pub(crate) credentials: Option<&'a Credentials>,
    pub(crate) scope: &'a str,
}

impl Tokens {
    /// The header for a request, or `None` where the server was not asked for one or there are no credentials.
    pub(crate) async fn header(
        &self,
        ask: &Bearer<'_>,
        scheme: &Scheme,
    ) -> Result<Option<HeaderValue>> {
        match (scheme, ask.credentials) {
            (Scheme::Basic, Some(Credentials::Password { username, password })) => {
                basic(username, password).map(Some)
            }
            (Scheme::Basic, _) => Ok(None),
            (Scheme::Bearer { .. }, Some(Credentials::Bearer { token })) => bearer(token).map(Some),
            (Scheme::Bearer { realm, service, scope }, _) => {
                let ask = &Bearer { scope, ..*ask };
                if let Some(token) = self.cached(ask) {
                    return bearer(&token).map(Some);
                }
                let (token, life) = fetch(ask, realm, service.as_deref()).await?;
                let header = bearer(&token)?;
                self.keep(ask, token, life);
                Ok(Some(header))
            }
        }
    }

    /// Forgets a token that the server did not take.
    pub(crate) fn forget(&self, ask: &Bearer<'_>, scheme: Option<&Scheme>) {
        let Some(Scheme::Bearer { scope, .. }) = scheme else { return };
        let ask = &Bearer { scope, ..*ask };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(ask));
    }

    fn cached(&self, ask: &Bearer<'_>) -> Option<Secret> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, until) = tokens.get(&key(ask))?;
        (*until > Instant::now()).then(|| token.clone())
    }

    fn keep(&self, ask: &Bearer<'_>, token: Secret, life: Duration) {
        let now = Instant::now();
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, (_, until)| *until > now);
        }
        if tokens.len() >= MAX_TOKENS {
            tokens.clear();
        }
        tokens.insert(key(ask), (token, now + life));
    }
}

fn key(ask: &Bearer<'_>) -> Key {
    let identity = match ask.credentials {
        None => String::new(),
        Some(Credentials::Password { username, password }) => {
            format!("p{}:{username}{}", username.len(), password.reveal())
        }
        Some(Credentials::Identity { token }) => format!("i{}", token.reveal()),
        Some(Credentials::Bearer { token }) => format!("b{}", token.reveal()),
    };
    (ask.link.endpoint.base.to_string(), ask.scope.to_owned(), Digest::sha256(identity.as_bytes()))
}

fn value(text: &str) -> Result<HeaderValue> {
    let wrong =
        |_| Error::new(Kind::Invalid, "credentials", "have a character that no header carries");
    let mut value = HeaderValue::try_from(text).map_err(wrong)?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(username: &str, password: &Secret) -> Result<HeaderValue> {
    value(&format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.reveal()))))
}

fn bearer(token: &Secret) -> Result<HeaderValue> {
    value(&format!("Bearer {}", token.reveal()))
}

/// Asks the token service for a token and how long it may be used.
async fn fetch(ask: &Bearer<'_>, realm: &str, service: Option<&str>) -> Result<(Secret, Duration)> {
    let judged = realm::judge(&ask.link.endpoint, realm)?;
    let place = crate::hosts::authority(&judged.url);
    let mut url = judged.url;
    let mut headers = HeaderMap::new();
    let (mut form, mut authorization) = (None, None);
    let credentials = ask.credentials.filter(|_| judged.trusted);
    if let Some(Credentials::Identity { token }) = credentials {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        form = Some(encoded(&[
            ("grant_type", "refresh_token"),
            ("client_id", "podloom"),
            ("service", service.unwrap_or_default()),
            ("scope", ask.scope),
            ("refresh_token", token.reveal()),
        ])?);
    } else {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", ask.scope);
        drop(query);
        if let Some(Credentials::Password { username, password }) = credentials {
            authorization = Some(basic(username, password)?);
        }
    }
    let subject = format!("{}: token service {place}", ask.link.endpoint.host());
    let withheld = ask.credentials.is_some() && !judged.trusted;
    let advice = if withheld {
        "credentials were kept from it, as it is another host's: list it in auth_realms of hosts.toml if it is yours"
    } else {
        "check the credentials for this registry"
    };
    let method = if form.is_some() { Method::POST } else { Method::GET };
    let request = Ask { method, url, headers, authorization, form };
    let response = ask.link.ask_realm(request).await.map_err(|e| e.within(&subject))?;
    let status = response.status();
    let kind = match status.as_u16() {
        200 => return read(response, &subject).await,
        401 | 400 => Kind::Unauthorized,
        403 => Kind::Denied,
        429 => Kind::RateLimited,
        500.. => Kind::Unavailable,
        300..400 => Kind::Refused,
        _ => Kind::Unauthorized,
    };
    Err(Error::new(kind, subject, format!("answered {status}")).advise(advice))
}

async fn read(response: reqwest::Response, subject: &str) -> Result<(Secret, Duration)> {
    let wait = Duration::from_secs(30);
    let bytes = read_bounded(response, MAX_ANSWER, wait).await.map_err(|e| e.within(subject))?;
    let wrong = || Error::new(Kind::Invalid, subject, "gave no JSON with a token");
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    let token = answer.token.filter(|t| !t.reveal().is_empty()).or(answer.access_token);
    let token = token.filter(|t| !t.reveal().is_empty()).ok_or_else(wrong)?;
    // Clocks and transfers take time: the last tenth of its life is not used.
    let life = answer.expires_in.unwrap_or(DEFAULT_LIFE).clamp(1, 86_400);
    Ok((token, Duration::from_millis(life * 900)))
}

/// `application/x-www-form-urlencoded`, by the encoder of URLs.
fn encoded(pairs: &[(&str, &str)]) -> Result<String> {
    let mut url = reqwest::Url::parse("http://form/")
        .map_err(|e| Error::new(Kind::Invalid, "token request", "cannot be encoded").because(&e))?;
    url.query_pairs_mut().extend_pairs(pairs);
    Ok(url.query().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::challenge;

    fn scope(header: &str) -> Option<String> {
        match Scheme::choose(challenge::parse(header), "repository:library/x:pull")? {
            Scheme::Bearer { scope, .. } => Some(scope),
            Scheme::Basic => None,
        }
    }

    #[test]
    fn scopes_stay_with_the_pull() {
        let own = Some("repository:library/x:pull".to_owned());
        assert_eq!(scope("Bearer realm=r"), own);
        assert_eq!(scope("Bearer realm=r,scope=\"repository:library/x:pull,push\""), own);
        let below = Some("repository:proxy/library/x:pull".to_owned());
        assert_eq!(scope("Bearer realm=r,scope=\"repository:proxy/library/x:pull\""), below);
        for other in
            ["repository:secret:pull", "registry:catalog:*", "repository:evillibrary/x:pull", "*"]
        {
            assert_eq!(scope(&format!("Bearer realm=r,scope=\"{other}\"")), own, "{other}");
        }
        assert_eq!(scope("Basic realm=x"), None);
        assert!(scope("Basic realm=x, Bearer realm=y").is_some());
    }
}
