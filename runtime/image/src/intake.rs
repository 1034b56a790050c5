//! One layer on its way in: hashed, kept, decompressed and unpacked in one pass, on a thread that
//! may block.

use crate::archive::Section;
use crate::plan::PlannedLayer;
use crate::progress::LayerProgress;
use crate::{Error, Kind, Result};
use bytes::Bytes;
use content_digest::Digest;
use snapshot::Pending;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use store::{Blob, Ingest, Store};
use tokio::sync::mpsc;

/// Bytes taken from a file at once.
const PIECE: usize = 128 * 1024;
/// How long the writer of a blob whose pull was given up has to notice.
const GIVE_UP: Duration = Duration::from_secs(10);

/// Where a layer's bytes come from.
#[derive(Debug)]
pub(crate) enum Input {
    /// The store has it.
    Stored(Blob),
    /// A file of an archive.
    Section(Section),
    /// A registry, from the offset of the ingest on. An error is told as one by the sender.
    Stream(mpsc::Receiver<Bytes>),
}

/// A stream ends early without its end having been told: whoever feeds it has gone.
#[derive(Debug, thiserror::Error)]
#[error("the transfer was given up")]
struct GivenUp;

/// Reads the input and puts what it reads into the store on the way.
struct Tee<'a> {
    ingest: Option<Ingest>,
    input: Input,
    chunk: Bytes,
    progress: &'a LayerProgress,
    /// The store's failure, which must not be taken for one of the source.
    failed: Option<store::Error>,
    seen: u64,
    size: u64,
}

impl Tee<'_> {
    /// The next bytes from the input; empty at its end.
    fn next(&mut self) -> io::Result<Bytes> {
        match &mut self.input {
            Input::Stored(blob) => piece(&mut blob.file),
            Input::Section(section) => piece(section),
            Input::Stream(stream) => match stream.blocking_recv() {
                Some(chunk) => Ok(chunk),
                None if self.seen == self.size => Ok(Bytes::new()),
                None => Err(io::Error::other(GivenUp)),
            },
        }
    }

    fn keep(&mut self, chunk: &Bytes) -> io::Result<()> {
        let Some(ingest) = &mut self.ingest else { return Ok(()) };
        ingest.write(chunk).map_err(|e| {
            self.failed = Some(e);
            io::Error::other("cannot be kept")
        })
    }
}

fn piece(from: &mut impl Read) -> io::Result<Bytes> {
    let mut buffer = vec![0; PIECE];
    let count = from.read(&mut buffer)?;
    buffer.truncate(count);
    Ok(buffer.into())
}

impl Read for Tee<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        if let Some(ingest) = &mut self.ingest {
            let count = ingest.read_back(into).map_err(io::Error::other)?;
            if count > 0 {
                self.seen += count as u64;
                return Ok(count);
            }
        }
        if self.chunk.is_empty() {
            self.chunk = self.next()?;
            if self.chunk.is_empty() {
                return Ok(0);
            }
            self.seen += self.chunk.len() as u64;
            let chunk = self.chunk.clone();
            self.keep(&chunk)?;
            if !matches!(self.input, Input::Stored(_)) {
                self.progress.add(chunk.len() as u64);
            }
        }
        let count = self.chunk.len().min(into.len());
        into[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

/// Takes a layer in: into the store if `ingest` is given, unpacked if `pending` is.
pub(crate) fn take_in(
    layer: &PlannedLayer,
    input: Input,
    ingest: Option<Ingest>,
    pending: Option<&Pending>,
    progress: &Arc<LayerProgress>,
) -> Result<Option<layer::Report>> {
    let size = layer.blob.size;
    let mut tee = Tee { ingest, input, chunk: Bytes::new(), progress, failed: None, seen: 0, size };
    let report = pending.map(|pending| unpack(layer, pending, &mut tee));
    // Also after a failure: were these the bytes that the manifest names at all?
    let rest = match &report {
        Some(Err(error)) if is_ours(error) => Ok(()),
        _ => drain(&mut tee),
    };
    if let Some(failed) = tee.failed.take() {
        return Err(failed.into());
    }
    rest.map_err(|e| Error::new(Kind::Cancelled, layer.blob.digest.to_string(), e))?;
    if !matches!(&report, Some(Err(error)) if is_ours(error)) {
        // The wrong bytes are told before any complaint about what they say.
        finish(tee.ingest)?;
    }
    report.transpose().map_err(Error::snapshot)
}

/// Whether a failure is one of this machine, whatever the bytes.
fn is_ours(error: &snapshot::Error) -> bool {
    !matches!(error.kind(), snapshot::Kind::Layer(kind) if kind != layer::Kind::Io)
}

fn unpack(
    layer: &PlannedLayer,
    pending: &Pending,
    tee: &mut Tee<'_>,
) -> std::result::Result<layer::Report, snapshot::Error> {
    // The digest and size of the compressed bytes are what the store checks.
    let expect = layer::Expect {
        compression: Some(layer.compression),
        digest: None,
        size: None,
        diff_id: Some(layer.diff_id.clone()),
    };
    pending.unpack(tee, &expect, &layer::Options::default())
}

fn drain(tee: &mut Tee<'_>) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    while tee.read(&mut buffer)? > 0 {}
    Ok(())
}

fn finish(ingest: Option<Ingest>) -> Result<()> {
    match ingest {
        Some(ingest) => Ok(ingest.finish().map(drop)?),
        None => Ok(()),
    }
}

/// The right to write a blob. A pull that was given up a moment ago may still hold it.
pub(crate) async fn begin(store: &Store, digest: &Digest, size: u64) -> Result<Ingest> {
    let start = tokio::time::Instant::now();
    loop {
        let (store, wanted) = (store.clone(), digest.clone());
        let begun = crate::blocking(move || Ok(store.ingest(&wanted, Some(size)))).await?;
        match begun {
            Err(store::Error::Busy { .. }) if start.elapsed() < GIVE_UP => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            begun => return Ok(begun?),
        }
    }
}
