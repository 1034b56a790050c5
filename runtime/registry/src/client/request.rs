//! One request with authentication, retries and mirrors.

use std::future::Future;
use std::sync::PoisonError;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;

use super::link::{Answer, Ask};
use super::{Inner, Route, read_bounded};
use crate::auth::challenge;
use crate::auth::token::{Bearer, Scheme};
use crate::error::{Error, Kind, Result};
use crate::spec::MediaType;

/// What is asked of a server, below its API's address.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: String,
    /// Whether the answer is a manifest or an index.
    pub(super) document: bool,
    /// First byte wanted.
    pub(super) offset: u64,
}

impl Question {
    pub(super) fn get(path: String) -> Self {
        Self { method: Method::GET, path, document: false, offset: 0 }
    }
}

/// A failure, and how long the server asked to be left alone.
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) wait: Option<Duration>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, wait: None }
    }
}

impl Inner {
    /// Asks one server once, authenticating when it wants that. Only answers of 2xx come back.
    pub(super) async fn ask(&self, route: &Route, question: &Question) -> Result<Response, Failed> {
        let link = &route.link;
        let bearer = Bearer { link, credentials: route.credentials.as_ref(), scope: &self.scope };
        let mut offered = false;
        for _ in 0..3 {
            let scheme = link.scheme.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let authorization = match &scheme {
                Some(scheme) => self.shared.tokens.header(&bearer, scheme).await?,
                None => None,
            };
            let sent = authorization.is_some();
            let ask = Ask {
                method: question.method.clone(),
                url: link.url(&question.path, self.reference.registry()),
                headers: headers(question)?,
                authorization,
                form: None,
            };
            let Answer { response, own } = link.send(ask).await?;
            if response.status() != StatusCode::UNAUTHORIZED || !own {
                return checked(response, own).await;
            }
            let found = challenges(&response);
            let Some(next) = Scheme::choose(found, &self.scope) else {
                return checked(response, own).await;
            };
            // Refused with a fresh answer to this very challenge: asking again changes nothing, and a wrong
            // password sent twice may lock an account.
            let known = scheme.as_ref() == Some(&next);
            if known && (offered || !sent || next == Scheme::Basic) {
                return Err(self.unauthorized(route, sent).into());
            }
            offered = known;
            if sent {
                self.shared.tokens.forget(&bearer, scheme.as_ref());
            }
            *link.scheme.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
        }
        Err(self.unauthorized(route, true).into())
    }

    fn unauthorized(&self, route: &Route, sent: bool) -> Error {
        let host = route.link.endpoint.host();
        let message = match (&route.credentials, sent) {
            (None, _) => "wants credentials and there are none",
            (Some(_), true) => "does not take the credentials",
            (Some(_), false) => "wants credentials of another kind",
        };
        Error::new(Kind::Unauthorized, host, message)
            .advise("log in, give credentials in hosts.toml, or check the name: private images look missing")
    }

    /// Asks one server, and again with growing waits while that can help.
    pub(super) async fn ask_patiently(
        &self,
        route: &Route,
        question: &Question,
        retries: u32,
    ) -> Result<Response> {
        let config = &self.shared.config;
        let mut attempt = 0;
        loop {
            let failed = match self.ask(route, question).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            if attempt >= retries || !failed.error.kind().is_transient() {
                return Err(failed.error);
            }
            self.pause(&mut attempt, failed, config.backoff).await?;
        }
    }

    /// Waits before the next attempt: as long as the server asked, if that is not too long, or twice as long as
    /// the time before.
    pub(super) async fn pause(
        &self,
        attempt: &mut u32,
        failed: Failed,
        backoff: Duration,
    ) -> Result<()> {
        let most = self.shared.config.max_wait;
        let wait = match failed.wait {
            Some(wait) if wait > most => {
                let message = format!(
                    "asks to wait {} s, at most {} s are waited",
                    wait.as_secs(),
                    most.as_secs()
                );
                return Err(Error::new(Kind::RateLimited, failed.error.subject(), message)
                    .because(&failed.error));
            }
            Some(wait) => wait,
            None => backoff.saturating_mul(1 << (*attempt).min(10)).min(most),
        };
        *attempt += 1;
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Tries the servers that may do this in their order; retries are for the last one, the others have it.
    pub(super) async fn through<'a, T, F, Fut>(
        &'a self,
        able: fn(&Route) -> bool,
        attempt: F,
    ) -> Result<T>
    where
        F: Fn(&'a Route, u32) -> Fut,
        Fut: Future<Output = Result<T>> + 'a,
    {
        let subject = self.reference.to_string();
        let routes: Vec<&Route> = self.routes.iter().filter(|route| able(route)).collect();
        let mut before: Vec<String> = Vec::new();
        for (at, &route) in routes.iter().enumerate() {
            let last = at + 1 == routes.len();
            let retries = if last { self.shared.config.retries } else { 0 };
            match attempt(route, retries).await {
                Ok(done) => return Ok(done),
                Err(error) if last => return Err(after(error, &before).within(&subject)),
                Err(error) => {
                    if error.kind() == Kind::Mismatch {
                        route.link.distrust();
                    }
                    before.push(error.to_string());
                }
            }
        }
        Err(Error::new(Kind::Config, subject, "no configured host may do this")
            .advise("check capabilities in hosts.toml"))
    }
}

/// The last failure, with those of the mirrors before it.
pub(super) fn after(error: Error, before: &[String]) -> Error {
    if before.is_empty() {
        error
    } else {
        error.because_of(format!("before that: {}", before.join("; ")))
    }
}

fn headers(question: &Question) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if question.document {
        headers.insert(ACCEPT, HeaderValue::from_static(MediaType::ACCEPT));
    }
    if question.offset > 0 {
        let range = HeaderValue::try_from(format!("bytes={}-", question.offset));
        headers.insert(
            RANGE,
            range.map_err(|e| Error::new(Kind::Invalid, "range", "no header").because(&e))?,
        );
    }
    Ok(headers)
}

fn challenges(response: &Response) -> Vec<challenge::Challenge> {
    let values = response.headers().get_all(WWW_AUTHENTICATE).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(challenge::parse).collect()
}

/// Lets answers of 2xx pass and turns all others into failures.
async fn checked(response: Response, own: bool) -> Result<Response, Failed> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let host = crate::hosts::authority(response.url());
    let wait = retry_after(response.headers());
    let kind = match status.as_u16() {
        401 => Kind::Unauthorized,
        403 => Kind::Denied,
        404 | 410 => Kind::NotFound,
        416 => Kind::Mismatch,
        429 => Kind::RateLimited,
        408 | 500.. => Kind::Unavailable,
        _ => Kind::Refused,
    };
    let code = code(response).await.map_or_else(String::new, |code| format!(", {code}"));
    let whose = if own { "" } else { " after a redirect" };
    let error = Error::new(kind, host, format!("answered {status}{code}{whose}"));
    let advice = match kind {
        Kind::Unauthorized => "log in, or give credentials in hosts.toml",
        Kind::Denied => "the credentials do not allow to pull this, or there are none",
        Kind::NotFound => "check name and tag; some registries hide private images this way",
        Kind::RateLimited => "log in for a higher limit, or use a mirror",
        _ => return Err(Failed { error, wait }),
    };
    Err(Failed { error: error.advise(advice), wait })
}

/// Seconds, or a date, which is too rare to read: then the usual wait.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// Codes that distribution-spec 1.1 lists. Nothing else of an error's body is shown: it may repeat a credential.
const CODES: [&str; 15] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
    "UNKNOWN",
];

#[derive(Deserialize)]
struct Errors {
    errors: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    code: String,
}

async fn code(response: Response) -> Option<&'static str> {
    let bytes = read_bounded(response, 64 << 10, Duration::from_secs(2)).await.ok()?;
    let errors: Errors = serde_json::from_slice(&bytes).ok()?;
    let first = errors.errors.into_iter().next()?.code;
    CODES.into_iter().find(|code| *code == first)
}
