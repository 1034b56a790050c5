//! `podloom logs`: the lines of a container's log, whose format is the CRI's: time, stream, a tag that
//! says whether the line goes on, and the text.

use super::args::Logs;
use super::daemon::{Daemon, fault};
use crate::fault::{Fault, Result};
use crate::print;
use cri_api::v1::{ContainerState, ContainerStatus, ContainerStatusRequest};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks for more.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn show(daemon: &Daemon, wanted: &Logs) -> Result<()> {
    let id = daemon.container(&wanted.container).await?.id;
    let status = status(daemon, &id).await?;
    if status.log_path.is_empty() {
        let advice = "its pod was made without a directory for logs";
        return Err(Fault::new(3, wanted.container.as_str(), "it has no log").advise(advice));
    }
    let mut log = Log::open(Path::new(&status.log_path), wanted.timestamps)?;
    log.print_last(wanted.tail)?;
    if wanted.follow {
        log.follow(daemon, &id).await?;
    }
    Ok(())
}

/// Follows a log to the end of its container.
pub(super) async fn follow(daemon: &Daemon, id: &str) -> Result<ContainerStatus> {
    let path = status(daemon, id).await?.log_path;
    Log::open(Path::new(&path), false)?.follow(daemon, id).await
}

pub(super) async fn status(daemon: &Daemon, id: &str) -> Result<ContainerStatus> {
    let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
    let answer = daemon.runtime().container_status(request).await;
    Ok(answer.map_err(|status| fault(id, &status))?.into_inner().status.unwrap_or_default())
}

/// A log that is being read.
struct Log {
    path: PathBuf,
    file: BufReader<File>,
    /// A line whose end is not written yet.
    begun: Vec<u8>,
    timestamps: bool,
}

impl Log {
    fn open(path: &Path, timestamps: bool) -> Result<Log> {
        let file = File::open(path).map_err(|e| unreadable(path, &e))?;
        Ok(Log { path: path.to_owned(), file: BufReader::new(file), begun: Vec::new(), timestamps })
    }

    /// The next whole line.
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let read = self.file.read_until(b'\n', &mut self.begun);
        read.map_err(|e| unreadable(&self.path, &e))?;
        let whole = self.begun.ends_with(b"\n");
        Ok(whole.then(|| std::mem::take(&mut self.begun)))
    }

    /// Prints what is there, only the last lines of it if a number is given.
    fn print_last(&mut self, lines: Option<usize>) -> Result<()> {
        let Some(most) = lines else { return self.print_rest() };
        let mut last = VecDeque::new();
        while let Some(line) = self.next()? {
            last.push_back(line);
            if last.len() > most {
                last.pop_front();
            }
        }
        last.iter().try_for_each(|line| print(line, self.timestamps))
    }

    /// Prints what is written until the container has ended; its status is then known.
    async fn follow(&mut self, daemon: &Daemon, id: &str) -> Result<ContainerStatus> {
        loop {
            // Asked first: what was written before the end is there when the end is.
            let status = status(daemon, id).await?;
            self.print_rest()?;
            if status.state == ContainerState::ContainerExited as i32 {
                return Ok(status);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Prints what has been written since, in the file that follows as well.
    fn print_rest(&mut self) -> Result<()> {
        loop {
            while let Some(line) = self.next()? {
                print(&line, self.timestamps)?;
            }
            if !self.is_replaced()? {
                return Ok(());
            }
            let fresh = File::open(&self.path).map_err(|e| unreadable(&self.path, &e))?;
            self.file = BufReader::new(fresh);
            self.begun.clear();
        }
    }

    /// Whether another file is at the path, or this one was cut.
    fn is_replaced(&mut self) -> Result<bool> {
        let path = self.path.clone();
        let failed = |e: std::io::Error| unreadable(&path, &e);
        let own = self.file.get_ref().metadata().map_err(failed)?;
        if own.len() < self.file.stream_position().map_err(failed)? {
            return Ok(true);
        }
        match std::fs::metadata(&self.path) {
            Ok(now) => Ok((now.dev(), now.ino()) != (own.dev(), own.ino())),
            // Between a rotation's two steps there is none.
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(failed(e)),
        }
    }
}

fn unreadable(path: &Path, cause: &std::io::Error) -> Fault {
    Fault::new(5, path.display().to_string(), cause.to_string())
}

/// Prints a line where its stream says.
fn print(line: &[u8], timestamps: bool) -> Result<()> {
    let mut words = line.splitn(4, |byte| *byte == b' ');
    let (Some(time), Some(stream), Some(tag), Some(text)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        // Not of this format: told as it is, rather than not at all.
        return print::out_bytes(line);
    };
    // The end of a part is not the end of the line.
    let text = if tag == b"P" { text.strip_suffix(b"\n").unwrap_or(text) } else { text };
    let text = if timestamps { [time, b" ", text].concat() } else { text.to_vec() };
    if stream == b"stderr" { print::error_bytes(&text) } else { print::out_bytes(&text) }
}
