//! What the tests share: a server whose commands are programs of this machine, and a SPDY client.
#![allow(dead_code, unused_imports)] // each test uses a part

mod host;
pub(crate) mod spdy;
pub(crate) mod websocket;

pub(crate) use host::{Host, attach, exec, serve, serve_with};
pub(crate) use spdy::{Frame, Spdy};

use std::time::Duration;

/// Longer than anything here takes, on a busy machine as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The outcome of `work`, which must not take forever.
pub(crate) async fn soon<T>(work: impl std::future::Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it takes too long")
}

/// Host and port, and the path of a URL.
pub(crate) fn parts(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").unwrap().1;
    rest.split_at(rest.find('/').unwrap())
}
