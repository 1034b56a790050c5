//! A blob as a stream that mends itself.
//!
//! A transfer that breaks goes on where it was, with a range request, from the next server in turn. Each byte is
//! given out once and hashed once; only after the last one is it known whether they were the right ones, so a
//! reader must throw away what it has when the stream ends with an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};

use super::meter::Meter;
use super::request::{Failed, Question, after};
use super::{Repository, link};
use crate::error::{Error, Kind, Result};
use crate::spec::{Descriptor, Verifier};

/// A piece of progress that lets the counting of retries start anew, in bytes.
const PROGRESS: u64 = 256 << 10;

/// A blob on its way. Dropping it cancels the transfer.
pub struct Blob {
    repository: Repository,
    size: u64,
    /// `None` after the end.
    verifier: Option<Verifier>,
    /// The running transfer.
    body: Option<Body>,
    meter: Meter,
    /// Time spent waiting for the network.
    waited: Duration,
    /// Retries since the last progress, and where that was.
    attempt: u32,
    mark: u64,
    /// Servers that cannot deliver, and why.
    out: Vec<(usize, String)>,
    at: usize,
    /// Servers that sent some of it.
    used: Vec<usize>,
    counter: Arc<AtomicU64>,
}

struct Body {
    response: Response,
    /// Bytes to leave out, where a server ignored the range.
    skip: u64,
}

impl Repository {
    /// Starts to fetch the blob that `descriptor` points at.
    #[must_use]
    pub fn blob(&self, descriptor: &Descriptor) -> Blob {
        self.resume(descriptor, Verifier::new(&descriptor.digest))
    }

    /// Goes on with a blob of which `verifier` has seen the beginning, also after a restart: the bytes that are
    /// there already are fed to a new [`Verifier`], and the transfer starts behind them.
    #[must_use]
    pub fn resume(&self, descriptor: &Descriptor, verifier: Verifier) -> Blob {
        let config = &self.inner.shared.config;
        Blob {
            repository: self.clone(),
            size: descriptor.size,
            mark: verifier.seen(),
            verifier: Some(verifier),
            body: None,
            meter: Meter::new(config.min_rate, config.rate_window),
            waited: Duration::ZERO,
            attempt: 0,
            out: Vec::new(),
            at: 0,
            used: Vec::new(),
            counter: Arc::default(),
        }
    }
}

impl Blob {
    /// Adds each received byte to `counter`, for progress that others read.
    #[must_use]
    pub fn count_into(mut self, counter: Arc<AtomicU64>) -> Self {
        self.counter = counter;
        self
    }

    /// Position of the next byte.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.verifier.as_ref().map_or(self.size, Verifier::seen)
    }

    /// The next bytes; `None` after the last one, when the digest was found right. Dropping the future loses no
    /// byte, but costs a new request.
    ///
    /// # Errors
    /// [`Kind::TooSlow`] with the rate, [`Kind::Mismatch`] when the bytes are not what the digest names (the
    /// server that sent them is not asked again for this pull), and whatever the last server failed with.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        self.step().await.map_err(|e| e.within(&self.repository.inner.reference.to_string()))
    }

    /// The blob as a stream; it ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send {
        futures_util::stream::unfold(Some(self), |state| async move {
            let mut blob = state?;
            match blob.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(blob))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn step(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.verifier.is_none() {
                return Ok(None);
            }
            let missing = self.size.saturating_sub(self.position());
            if missing == 0 {
                return self.finish();
            }
            let received = match self.body.take() {
                Some(body) => self.read(body).await,
                None => match self.open().await {
                    Ok(body) => {
                        self.body = Some(body);
                        continue;
                    }
                    Err(failed) => Err(failed),
                },
            };
            match received {
                Ok(Some(bytes)) if bytes.len() as u64 > missing => {
                    let message = format!("sends more than the {} bytes of the blob", self.size);
                    self.mend(Error::new(Kind::Mismatch, self.host(), message).into()).await?;
                }
                Ok(Some(bytes)) => return Ok(Some(self.take(bytes))),
                Ok(None) => {
                    let message = format!("ended {missing} bytes before the end");
                    self.mend(Error::new(Kind::Unavailable, self.host(), message).into()).await?;
                }
                Err(failed) => self.mend(failed).await?,
            }
        }
    }

    fn host(&self) -> String {
        self.repository
            .inner
            .routes
            .get(self.at)
            .map(|r| r.link.endpoint.host())
            .unwrap_or_default()
    }

    fn take(&mut self, bytes: Bytes) -> Bytes {
        if let Some(verifier) = &mut self.verifier {
            verifier.update(&bytes);
        }
        self.counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if self.position() - self.mark >= PROGRESS {
            (self.mark, self.attempt) = (self.position(), 0);
        }
        bytes
    }

    fn finish(&mut self) -> Result<Option<Bytes>> {
        self.body = None;
        let Some(verifier) = self.verifier.take() else { return Ok(None) };
        if verifier.seen() != self.size {
            let message = format!("{} bytes of {}", verifier.seen(), self.size);
            return Err(Error::new(Kind::Mismatch, verifier.want().as_str(), message));
        }
        verifier.finish().map(|()| None).map_err(|e| {
            // Which of them sent the wrong ones cannot be told.
            for at in &self.used {
                self.repository.inner.routes[*at].link.distrust();
            }
            e.within(&self.host())
                .advise("the copy at this host is damaged: pull again, or repair the mirror")
        })
    }

    /// Waits for the next piece; each wait is bounded, and so is its rate.
    async fn read(&mut self, mut body: Body) -> Result<Option<Bytes>, Failed> {
        let config = self.repository.inner.shared.config.clone();
        loop {
            let most = config.idle_timeout.min(self.meter.left().max(Duration::from_millis(1)));
            let begun = Instant::now();
            let got = tokio::time::timeout(most, body.response.chunk()).await;
            let waited = begun.elapsed();
            self.waited += waited;
            let length = got
                .as_ref()
                .ok()
                .and_then(|r| r.as_ref().ok())
                .and_then(Option::as_ref)
                .map_or(0, Bytes::len);
            if let Some(rate) = self.meter.add(length as u64, waited) {
                let (floor, window) = (config.min_rate, config.rate_window.as_secs_f32());
                let message =
                    format!("{rate:.0} bytes/s over {window} s, the minimum is {floor} bytes/s");
                return Err(Error::new(Kind::TooSlow, self.host(), message).into());
            }
            if config.total_timeout.is_some_and(|most| self.waited > most) {
                let message = format!("not done after {} s", self.waited.as_secs());
                self.out
                    .extend((0..self.repository.inner.routes.len()).map(|at| (at, String::new())));
                return Err(Error::new(Kind::Timeout, self.host(), message).into());
            }
            let piece = match got {
                // Either the window closed, well filled, or the silence was too long.
                Err(_) if waited < config.idle_timeout => continue,
                Err(_) => {
                    let message = format!("nothing came for {} s", waited.as_secs_f32());
                    return Err(Error::new(Kind::Timeout, self.host(), message).into());
                }
                Ok(piece) => piece.map_err(|e| link::failure(&self.host(), e))?,
            };
            let Some(mut bytes) = piece else { return Ok(None) };
            let skipped = body.skip.min(bytes.len() as u64);
            body.skip -= skipped;
            let rest = bytes.split_off(usize::try_from(skipped).unwrap_or(usize::MAX));
            if !rest.is_empty() {
                self.body = Some(body);
                return Ok(Some(rest));
            }
        }
    }

    /// Asks the present server for what is missing.
    async fn open(&mut self) -> Result<Body, Failed> {
        let inner = Arc::clone(&self.repository.inner);
        self.at = self.choose().ok_or_else(|| {
            Error::new(Kind::Config, "", "no configured host may do this")
                .advise("check capabilities in hosts.toml")
        })?;
        let offset = self.position();
        let digest = self.verifier.as_ref().map(|v| v.want().to_string()).unwrap_or_default();
        let path = format!("{}/blobs/{digest}", inner.reference.repository());
        let question = Question { offset, ..Question::get(path) };
        let response = inner.ask(&inner.routes[self.at], &question).await?;
        let wrong = |message: String| Error::new(Kind::Mismatch, self.host(), message);
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        if partial {
            let range = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok());
            let begins =
                range.and_then(|r| r.strip_prefix("bytes ")).and_then(|r| r.split_once('-'));
            if begins.and_then(|(first, _)| first.parse().ok()) != Some(offset) {
                return Err(
                    wrong(format!("answers with another range than from byte {offset}")).into()
                );
            }
        }
        let skip = if partial { 0 } else { offset };
        let want = self.size - offset + skip;
        if let Some(length) = response.content_length().filter(|length| *length != want) {
            return Err(wrong(format!("announces {length} bytes, the blob has {want}")).into());
        }
        if !self.used.contains(&self.at) {
            self.used.push(self.at);
        }
        Ok(Body { response, skip })
    }

    /// The next server in turn that may serve content and did not prove unable.
    fn choose(&self) -> Option<usize> {
        let routes = &self.repository.inner.routes;
        let fine = |at: &usize| {
            routes[*at].link.endpoint.pull && !self.out.iter().any(|(out, _)| out == at)
        };
        let trusted = |at: &usize| fine(at) && !routes[*at].link.is_distrusted();
        // With nobody trusted left, all get another chance: a damaged copy may have been repaired.
        let turn = |at: usize| (self.at + at) % routes.len();
        (0..routes.len()).map(turn).find(trusted).or_else(|| (0..routes.len()).map(turn).find(fine))
    }

    /// Decides after a failure: go on elsewhere, here after a wait, or give up.
    async fn mend(&mut self, failed: Failed) -> Result<()> {
        let inner = Arc::clone(&self.repository.inner);
        self.body = None;
        let kind = failed.error.kind();
        let lasting = !kind.is_transient() || kind == Kind::TooSlow;
        if lasting && !self.out.iter().any(|(at, _)| *at == self.at) {
            self.out.push((self.at, failed.error.to_string()));
        }
        let told = |blob: &Self, error: Error| {
            let others = blob.out.iter().filter(|(at, text)| *at != blob.at && !text.is_empty());
            after(error, &others.map(|(_, text)| text.clone()).collect::<Vec<_>>())
        };
        let before = self.at;
        if !lasting {
            self.at = (self.at + 1) % inner.routes.len();
        }
        let Some(next) = self.choose() else {
            self.at = before;
            return Err(told(self, failed.error));
        };
        self.at = next;
        if next != before && lasting {
            return Ok(());
        }
        if self.attempt >= inner.shared.config.retries {
            return Err(told(self, failed.error));
        }
        // Another server need not wait for what this one asked.
        let failed = if next == before { failed } else { Failed { wait: None, ..failed } };
        inner.pause(&mut self.attempt, failed, inner.shared.config.backoff).await
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({} of {} bytes)", self.position(), self.size)
    }
}
