//! Requests: who may have what, and over which protocol.

use crate::link::{Connection, Link};
use crate::negotiate::{ACCEPTED_VERSIONS, Agreed, Refusal, negotiate};
use crate::server::{HELLO, Shared};
use crate::session;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The head of a request takes no more than this; a URL of ours has less than 100 bytes.
const MAX_HEAD: usize = 16 << 10;

type Answer = Response<Full<Bytes>>;

/// Serves the requests of a connection until one upgrades it.
pub(crate) async fn serve<S: Connection>(
    shared: Arc<Shared>,
    stream: S,
    permit: OwnedSemaphorePermit,
) {
    // Whoever holds the permit is counted as a connection: first this, then the stream it becomes.
    let permit = Arc::new(permit);
    let held = Arc::clone(&shared);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer::<S>(&held, request, &permit);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HELLO)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        () = shared.ended() => {}
        served = connection => if let Err(cause) = served {
            tracing::debug!(%cause, "a streaming client broke off");
        },
    }
}

fn answer<S: Connection>(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    permit: &Arc<OwnedSemaphorePermit>,
) -> Answer {
    if request.method() != Method::GET && request.method() != Method::POST {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or POST\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        return answer;
    }
    let Some((verb, token)) = path(request.uri().path()) else {
        return plain(StatusCode::NOT_FOUND, "there is no such stream\n");
    };
    let agreed = match negotiate(verb, request.headers()) {
        Ok(agreed) => agreed,
        Err(refusal) => return refuse(&refusal),
    };
    // Only now: a client whose first offer is refused may come again with another one.
    let Some(wanted) = shared.tokens.redeem(verb, token) else {
        return plain(
            StatusCode::NOT_FOUND,
            "there is no such stream, or it was used, or its time is over\n",
        );
    };
    let job = session::Job {
        shared: Arc::clone(shared),
        request: wanted,
        protocol: agreed.protocol,
        ports: query_ports(request.uri().query().unwrap_or_default()),
    };
    let permit = Arc::clone(permit);
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => session::run(job, Link::new::<S>(upgraded)).await,
            Err(cause) => tracing::debug!(%cause, "a streaming client was gone before it began"),
        }
        drop(permit);
    });
    switch(agreed)
}

/// Verb and token of `/exec/TOKEN` and its like.
fn path(path: &str) -> Option<(&str, &str)> {
    let (verb, token) = path.strip_prefix('/')?.split_once('/')?;
    matches!(verb, "exec" | "attach" | "portforward").then_some((verb, token))
}

/// Ports that a client of channels names in its request: `port=80&port=443` or `ports=80,443`.
fn query_ports(query: &str) -> Vec<u16> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let named = pairs.filter(|(key, _)| matches!(*key, "port" | "ports"));
    named.flat_map(|(_, value)| value.split(',')).filter_map(|port| port.parse().ok()).collect()
}

fn switch(agreed: Agreed) -> Answer {
    let mut answer = plain(StatusCode::SWITCHING_PROTOCOLS, "");
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    for (name, value) in agreed.headers {
        match HeaderValue::from_str(&value) {
            Ok(value) => answer.headers_mut().insert(name, value),
            Err(_) => return plain(StatusCode::BAD_REQUEST, "the offer is no header\n"),
        };
    }
    answer
}

fn refuse(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::NoUpgrade(why) => plain(StatusCode::BAD_REQUEST, why),
        Refusal::NoneOf(known) => {
            let text = format!("the protocols of this are: {}\n", known.join(", "));
            let mut answer = plain(StatusCode::FORBIDDEN, &text);
            for name in known {
                answer.headers_mut().append(ACCEPTED_VERSIONS, HeaderValue::from_static(name));
            }
            answer
        }
    }
}

fn plain(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_verb_and_a_token() {
        assert_eq!(path("/exec/abc"), Some(("exec", "abc")));
        for wrong in ["/", "/exec", "exec/abc", "/logs/abc", "//abc"] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ports_are_read_from_the_query() {
        assert_eq!(query_ports("port=80&port=443"), [80, 443]);
        assert_eq!(query_ports("ports=80,443&x=1"), [80, 443]);
        assert!(query_ports("port=70000&port=x").is_empty());
    }
}
