//! Commands: their streams brought to their client, and their outcome.

pub(crate) mod channels;
mod sizes;
pub(crate) mod streams;

use crate::link::{Activity, CHUNK};
use crate::server::Shared;
use crate::sink::Sink;
use crate::status::Outcome;
use crate::{Attach, Error, Exec, Kind, Process, Reader, Resize, Result, Size, Streams, Writer};
use bytes::Bytes;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

/// Pieces of input that may wait for the process, of at most 64 KiB each.
pub(crate) const WAITING: usize = 8;

/// How long the output of an ended process may pause before it counts as ended. Its children may
/// have inherited it and keep it open for as long as they like.
const QUIET: Duration = Duration::from_millis(250);

/// Bytes that may still come after a process's end: more than its pipe can have held.
const REMAINS: usize = 4 << 20;

/// How long a client may take for the news that its time is over.
const NEWS: Duration = Duration::from_secs(2);

/// What a client wants to run or to attach to.
pub(crate) enum Request {
    Exec(Exec),
    Attach(Attach),
}

/// A request for a command, and who can run it.
pub(crate) struct Command {
    pub(crate) shared: Arc<Shared>,
    pub(crate) request: Request,
}

/// A client's streams.
pub(crate) struct Ends {
    pub(crate) stdin: Option<mpsc::Receiver<Bytes>>,
    pub(crate) sizes: watch::Receiver<Option<Size>>,
    pub(crate) stdout: Sink,
    pub(crate) stderr: Sink,
    pub(crate) error: Sink,
    pub(crate) activity: Arc<Activity>,
    /// Of the protocol: from 4 on outcomes are objects.
    pub(crate) version: u8,
}

impl Ends {
    /// Clients take the first message, an empty one, as the sign that the streams are there: it comes
    /// when the process has them.
    async fn greet(&self) -> io::Result<()> {
        let all = [&self.stdout, &self.stderr, &self.error];
        match all.into_iter().find(|sink| !matches!(sink, Sink::Nowhere)) {
            Some(first) => first.greet().await,
            None => Ok(()),
        }
    }
}

impl Command {
    pub(crate) fn streams(&self) -> Streams {
        match &self.request {
            Request::Exec(exec) => exec.streams,
            Request::Attach(attach) => attach.streams,
        }
    }

    pub(crate) fn terminal(&self) -> bool {
        match &self.request {
            Request::Exec(exec) => exec.terminal,
            Request::Attach(attach) => attach.terminal,
        }
    }

    /// Runs the command and tells its client everything. Errors are those of the connection.
    pub(crate) async fn run(&self, mut ends: Ends) -> io::Result<()> {
        let timeout = self.shared.settings.idle_timeout;
        let activity = Arc::clone(&ends.activity);
        let outcome = tokio::select! {
            () = activity.idle(timeout) => {
                let cause = format!("no data for {} seconds", timeout.as_secs());
                Outcome::Failed(Error::new(Kind::Deadline, "stream", cause))
            }
            outcome = self.attend(&mut ends) => outcome?,
        };
        match tokio::time::timeout(NEWS, tell(&outcome, &ends)).await {
            Ok(told) => told,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no news")),
        }
    }

    async fn attend(&self, ends: &mut Ends) -> io::Result<Outcome> {
        let started = match &self.request {
            Request::Exec(exec) => self.shared.backend.exec(exec.clone()).await,
            Request::Attach(attach) => self.shared.backend.attach(attach.clone()).await,
        };
        ends.greet().await?;
        match started {
            Err(error) => Ok(Outcome::Failed(error)),
            Ok(process) => Ok(self.outcome(carry(process, ends).await?)),
        }
    }

    /// Who attached to a container learns its exit code from its status, not from here.
    fn outcome(&self, exited: Result<i32>) -> Outcome {
        match (exited, &self.request) {
            (Err(error), _) => Outcome::Failed(error),
            (Ok(0), _) | (Ok(_), Request::Attach(_)) => Outcome::Success,
            (Ok(code), Request::Exec(_)) => Outcome::Exited(code),
        }
    }
}

async fn tell(outcome: &Outcome, ends: &Ends) -> io::Result<()> {
    if ends.version >= 4 {
        ends.error.send(&outcome.object()).await?;
    } else if let Some(text) = outcome.text() {
        ends.error.send(&text).await?;
    }
    ends.error.finish().await
}

/// Carries everything between process and client until the process has ended and its output is told.
async fn carry(process: Process, ends: &mut Ends) -> io::Result<Result<i32>> {
    let Process { stdin, stdout, stderr, resize, exit } = process;
    let ended = watch::Sender::new(false);
    let exited = async {
        let code = exit.await;
        ended.send_replace(true);
        Ok(code)
    };
    let output = pump(stdout, &ends.stdout, &ends.activity, ended.subscribe());
    let errors = pump(stderr, &ends.stderr, &ends.activity, ended.subscribe());
    let told = async { tokio::try_join!(exited, output, errors) };
    tokio::select! {
        told = told => told.map(|(code, (), ())| code),
        never = feed(stdin, ends.stdin.take()) => match never {},
        never = fit(resize, ends.sizes.clone()) => match never {},
    }
}

/// Carries a process's output to its client.
async fn pump(
    from: Option<Reader>,
    to: &Sink,
    activity: &Activity,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let Some(mut from) = from else { return to.finish().await };
    let mut buffer = vec![0; CHUNK];
    let mut remains = REMAINS;
    while remains > 0 {
        let count = tokio::select! {
            biased;
            count = from.read(&mut buffer) => match count {
                Ok(0) => break,
                Ok(count) => count,
                // A terminal that nobody has open any more reads as an error, or the stream broke:
                // either way there is no more output.
                Err(cause) => {
                    tracing::debug!(%cause, "the end of a process's output");
                    break;
                }
            },
            () = quiet(&mut ended) => break,
        };
        if *ended.borrow() {
            remains = remains.saturating_sub(count);
        }
        activity.touch();
        to.send(&buffer[..count]).await?;
    }
    to.finish().await
}

/// Returns a while after the process has ended.
async fn quiet(ended: &mut watch::Receiver<bool>) {
    // Without a sender the process is not waited for any more, which is an end as well.
    let _ = ended.wait_for(|ended| *ended).await;
    tokio::time::sleep(QUIET).await;
}

enum Never {}

/// Carries a client's input to its process.
async fn feed(to: Option<Writer>, from: Option<mpsc::Receiver<Bytes>>) -> Never {
    if let (Some(mut to), Some(mut from)) = (to, from) {
        while let Some(bytes) = from.recv().await {
            if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
                // The process has closed its input: its end is told elsewhere.
                break;
            }
        }
        // Dropping it closes it in any case.
        let _ = to.shutdown().await;
    }
    pending().await
}

/// Gives the client's window size to the terminal.
async fn fit(terminal: Option<Resize>, mut sizes: watch::Receiver<Option<Size>>) -> Never {
    if let Some(resize) = terminal {
        loop {
            let size = *sizes.borrow_and_update();
            if let Some(size) = size {
                resize(size).await;
            }
            if sizes.changed().await.is_err() {
                break;
            }
        }
    }
    pending().await
}
