//! The file of a container's log.

use super::line::{Lines, Stream};
use crate::error::{Result, io};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A log that is written.
pub(crate) struct Log {
    wanted: shim_protocol::Log,
    file: File,
    size: u64,
    /// A write was cut short: the file does not end with a line.
    torn: bool,
    lines: [Lines; 2],
    lost: Arc<AtomicU64>,
}

/// Opens the file, made with its directory when it is missing; and its size.
pub(super) fn open(wanted: &shim_protocol::Log) -> Result<(File, u64)> {
    let path = &wanted.path;
    let fail = |error| {
        io(path.display().to_string(), "open the log", error)
            .advise("its directory must be there and writable")
    };
    let opened = File::options().append(true).create(true).for_logs().open(path);
    let file = match (opened, path.parent()) {
        (Err(error), Some(parent)) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(parent).map_err(fail)?;
            File::options().append(true).create(true).for_logs().open(path)
        }
        (opened, _) => opened,
    }
    .map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    if !meta.is_file() {
        return Err(fail(std::io::Error::other("something else than a file is there")));
    }
    Ok((file, meta.len()))
}

trait ForLogs {
    fn for_logs(&mut self) -> &mut Self;
}

impl ForLogs for std::fs::OpenOptions {
    /// Logs hold what their container may tell nobody else. A container that has the directory of its
    /// logs mounted may put a link to a file of the node there, or a pipe that nobody reads.
    fn for_logs(&mut self) -> &mut Self {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        std::os::unix::fs::OpenOptionsExt::custom_flags(self, flags);
        std::os::unix::fs::OpenOptionsExt::mode(self, 0o640)
    }
}

impl Log {
    /// Opens a log; what cannot be written is counted in `lost`.
    pub(crate) fn new(wanted: shim_protocol::Log, lost: Arc<AtomicU64>) -> Result<Log> {
        let (file, size) = open(&wanted)?;
        let lines = [Lines::new(Stream::Stdout), Lines::new(Stream::Stderr)];
        Ok(Log { wanted, file, size, torn: false, lines, lost })
    }

    /// Opens it anew at its path; on failure the old file stays.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        let (file, size) = open(&self.wanted)?;
        (self.file, self.size, self.torn) = (file, size, false);
        Ok(())
    }

    /// Adds what a stream wrote.
    pub(crate) fn add(&mut self, stream: Stream, text: &[u8]) {
        let mut out = Vec::with_capacity(text.len() + (text.len() >> 1) + 128);
        self.lines_of(stream).cut(text, now(), &mut out);
        self.write(&out);
    }

    /// A stream is at its end.
    pub(crate) fn end(&mut self, stream: Stream) {
        let mut out = Vec::new();
        self.lines_of(stream).end(now(), &mut out);
        self.write(&out);
    }

    fn lines_of(&mut self, stream: Stream) -> &mut Lines {
        let [stdout, stderr] = &mut self.lines;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    fn write(&mut self, text: &[u8]) {
        let most = self.wanted.max_bytes;
        if most > 0 && self.size + text.len() as u64 > most {
            self.lose(text.len());
            return;
        }
        if self.torn && !text.is_empty() {
            match self.file.write(b"\n") {
                Ok(1) => self.torn = false,
                _ => return self.lose(text.len()),
            }
        }
        let mut left = text;
        while !left.is_empty() {
            match self.file.write(left) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // A full disk must not stop the container.
                Ok(0) | Err(_) => {
                    self.torn = left.len() < text.len();
                    return self.lose(left.len());
                }
                Ok(written) => {
                    self.size += written as u64;
                    left = &left[written..];
                }
            }
        }
    }

    fn lose(&self, bytes: usize) {
        self.lost.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
