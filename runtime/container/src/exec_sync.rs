//! Running a command in a container to its end.

use crate::exec::{Added, Running};
use crate::process::Output;
use crate::shared::{Shared, of_shim};
use crate::streams::output;
use crate::{Error, Kind, Result};
use shim_client::Descriptors;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;

/// Bytes of one read.
const CHUNK: usize = 64 << 10;

/// How long a killed command may take to end before it is left alone.
const KILL_WAIT: Duration = Duration::from_secs(2);

/// Runs the command; when the caller goes away it is killed.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    id: &str,
    command: Vec<String>,
    limit: Option<Duration>,
) -> Result<Output> {
    let running = Running::find(shared, id)?;
    let begun = tokio::time::Instant::now();
    let deadline = limit.and_then(|limit| begun.checked_add(limit));
    let (stdout, stderr) = (output()?, output()?);
    let ends = Descriptors { stdin: None, stdout: Some(stdout.1), stderr: Some(stderr.1) };
    let program = command.first().cloned().unwrap_or_default();
    let Added { mut execution, mut kill } = running.add(shared, (command, false), ends).await?;
    let kept = Kept::of(shared.settings.exec_output);
    let reading = async {
        tokio::join!(kept.read(stdout.0, &kept.stdout), kept.read(stderr.0, &kept.stderr))
    };
    tokio::pin!(reading);
    let mut complete = false;
    let exit = loop {
        tokio::select! {
            exit = execution.wait() => break exit,
            _ = &mut reading, if !complete => complete = true,
            () = until(deadline) => {
                drop(kill);
                let _end = timeout(KILL_WAIT, execution.wait()).await;
                let subject = format!("command {program:?} in container {:.12}", running.container.id());
                let took = limit.unwrap_or_default();
                let e = Error::new(Kind::Deadline, subject, format!("did not end in {took:?}"));
                return Err(e.with_advice("it was killed; allow it more time"));
            }
        }
    };
    kill.disarm();
    let exit = exit.map_err(|e| of_shim(running.container.id(), &e))?;
    if !complete {
        // What it left behind may hold its output open for ever.
        let _held_open = timeout(shared.settings.exec_drain, &mut reading).await;
    }
    Ok(kept.output(exit.code))
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Output, as much as is kept.
#[derive(Debug)]
struct Kept {
    stdout: Mutex<Vec<u8>>,
    stderr: Mutex<Vec<u8>>,
    room: AtomicUsize,
    dropped: AtomicU64,
}

impl Kept {
    fn of(room: usize) -> Kept {
        Kept {
            stdout: Mutex::default(),
            stderr: Mutex::default(),
            room: AtomicUsize::new(room),
            dropped: AtomicU64::new(0),
        }
    }

    /// Reads to the end. What does not fit is read too, so that the command does not wait.
    async fn read(&self, mut from: Receiver, into: &Mutex<Vec<u8>>) {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = match from.read(&mut chunk).await {
                // A pipe fails only when it is no pipe.
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
            let room = self.room.load(Ordering::Relaxed);
            let fits = count.min(room);
            self.room.store(room - fits, Ordering::Relaxed);
            self.dropped.fetch_add((count - fits) as u64, Ordering::Relaxed);
            into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..fits]);
        }
    }

    fn output(&self, exit_code: i32) -> Output {
        let take = |from: &Mutex<Vec<u8>>| {
            std::mem::take(&mut *from.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let dropped = self.dropped.load(Ordering::Relaxed);
        Output { stdout: take(&self.stdout), stderr: take(&self.stderr), exit_code, dropped }
    }
}
