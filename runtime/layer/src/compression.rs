//! Compression of layers: which, and reading through it.

use crate::error::{Error, Kind};
use crate::limits::Limits;
use content_digest::{Digest, Hasher};
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufReader, Chain, Cursor, Read};

/// How the tar stream of a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, also of several members.
    Gzip,
    /// zstd, also of several frames.
    Zstd,
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Skippable frames have 0x184D2A50 to 0x184D2A5F, little endian (RFC 8878, 3.1.2).
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

impl Compression {
    /// What a layer's media type says (image-spec, layer.md; Docker image manifest V2.2).
    ///
    /// `None` for a media type that is no layer's.
    pub fn of_media_type(media_type: &str) -> Option<Compression> {
        let media_type = media_type.split(';').next()?.trim();
        match media_type {
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar" => Some(Compression::None),
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
                Some(Compression::Gzip)
            }
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// What the first bytes of a stream say.
    pub fn of_magic(head: &[u8]) -> Compression {
        let skippable = head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == ZSTD_SKIPPABLE;
        if head.starts_with(&GZIP_MAGIC) {
            Compression::Gzip
        } else if head.starts_with(&ZSTD_MAGIC) || skippable {
            Compression::Zstd
        } else {
            Compression::None
        }
    }
}

/// Counts and hashes the compressed bytes on their way.
pub(crate) struct Meter<R> {
    inner: R,
    hash: Option<Hasher>,
    bytes: u64,
    /// One byte more than allowed is read, so that "too long" is seen.
    most: u64,
    failure: Option<io::Error>,
}

impl<R: Read> Meter<R> {
    pub(crate) fn new(inner: R, digest: Option<&Digest>, size: Option<u64>) -> Meter<R> {
        let most = size.map_or(u64::MAX, |size| size.saturating_add(1));
        Meter { inner, hash: digest.map(Digest::hasher), bytes: 0, most, failure: None }
    }
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.most - self.bytes).unwrap_or(usize::MAX);
        let most = into.len().min(left);
        let count = loop {
            match self.inner.read(&mut into[..most]) {
                Ok(count) => break count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let copy = io::Error::new(e.kind(), "the source failed");
                    self.failure = Some(e);
                    return Err(copy);
                }
            }
        };
        if let Some(hash) = &mut self.hash {
            hash.update(&into[..count]);
        }
        self.bytes += count as u64;
        Ok(count)
    }
}

/// The head that was looked at, and what follows.
type Input<R> = BufReader<Chain<Cursor<Vec<u8>>, Meter<R>>>;

/// A decompressed stream that knows what it has read.
pub(crate) enum Decoder<R: Read> {
    Plain(Box<Input<R>>),
    Gzip(Box<MultiGzDecoder<Input<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input<R>>>),
}

/// Bytes asked from the source at once.
const INPUT_BYTES: usize = 128 << 10;

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes and sets up what they ask for.
    pub(crate) fn open(
        mut meter: Meter<R>,
        expected: Option<Compression>,
        limits: &Limits,
    ) -> Result<Decoder<R>, Error> {
        let mut head = Vec::with_capacity(4);
        if let Err(e) = meter.by_ref().take(4).read_to_end(&mut head) {
            let cause = meter.failure.take().unwrap_or(e);
            return Err(Error::caused(Kind::Source, "layer", "reading failed", cause));
        }
        let found = Compression::of_magic(&head);
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let detail = format!("its media type says {expected:?}, its first bytes {found:?}");
            return Err(Error::new(Kind::Compression, "layer", detail));
        }
        let input = BufReader::with_capacity(INPUT_BYTES, Cursor::new(head).chain(meter));
        Ok(match found {
            Compression::None => Decoder::Plain(Box::new(input)),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Zstd => {
                let failed = |e| Error::caused(Kind::Compression, "layer", "zstd", e);
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
                decoder.window_log_max(limits.zstd_window_log).map_err(failed)?;
                Decoder::Zstd(Box::new(decoder))
            }
        })
    }

    fn input(&mut self) -> &mut Input<R> {
        match self {
            Decoder::Plain(input) => input,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }

    fn meter(&mut self) -> &mut Meter<R> {
        self.input().get_mut().get_mut().1
    }

    /// Compressed bytes taken from the source so far.
    pub(crate) fn compressed(&mut self) -> u64 {
        self.meter().bytes
    }

    /// Reads some decompressed bytes; 0 at the end.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let read = match self {
            Decoder::Plain(input) => input.read(into),
            Decoder::Gzip(decoder) => decoder.read(into),
            Decoder::Zstd(decoder) => decoder.read(into),
        };
        read.map_err(|e| match self.meter().failure.take() {
            Some(cause) => Error::caused(Kind::Source, "layer", "reading failed", cause),
            None if e.kind() == io::ErrorKind::UnexpectedEof => {
                Error::caused(Kind::Truncated, "layer", "the compressed data ends early", e)
            }
            None => Error::caused(Kind::Compression, "layer", "damaged compressed data", e),
        })
    }

    /// After the last decompressed byte: reads what the source still has (there must be nothing),
    /// and checks size and digest. Returns the compressed size.
    pub(crate) fn finish(
        mut self,
        digest: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<u64, Error> {
        let mut rest = [0; 4096];
        let mut extra = 0u64;
        loop {
            match self.input().read(&mut rest) {
                Ok(0) => break,
                Ok(count) => extra += count as u64,
                Err(e) => {
                    let cause = self.meter().failure.take().unwrap_or(e);
                    return Err(Error::caused(Kind::Source, "layer", "reading failed", cause));
                }
            }
        }
        let meter = self.meter();
        let (bytes, hash) = (meter.bytes, meter.hash.take());
        verify(bytes, hash, digest, size)?;
        if extra > 0 {
            let detail = format!("{extra} bytes follow the compressed data");
            return Err(Error::new(Kind::Compression, "layer", detail));
        }
        Ok(bytes)
    }

    /// For a stream that turned out bad: reads the source to its end, and says whether its bytes
    /// are those expected. A damaged transfer is told from a bad image by this.
    pub(crate) fn verdict(
        mut self,
        digest: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<(), Error> {
        let meter = self.meter();
        io::copy(meter, &mut io::sink()).map_err(|e| {
            let cause = meter.failure.take().unwrap_or(e);
            Error::caused(Kind::Source, "layer", "reading failed", cause)
        })?;
        let (bytes, hash) = (meter.bytes, meter.hash.take());
        verify(bytes, hash, digest, size)
    }
}

fn verify(
    bytes: u64,
    hash: Option<Hasher>,
    digest: Option<&Digest>,
    size: Option<u64>,
) -> Result<(), Error> {
    if let Some(size) = size.filter(|size| *size != bytes) {
        let more = if bytes > size { "more than " } else { "" };
        let detail = format!("{more}{} bytes, the manifest says {size}", bytes.min(size + 1));
        return Err(Error::new(Kind::SizeMismatch, "layer", detail));
    }
    if let (Some(hash), Some(digest)) = (hash, digest) {
        let found = hash.finish();
        if found != *digest {
            let detail = format!("its bytes have the digest {found}");
            return Err(Error::new(Kind::DigestMismatch, digest.to_string(), detail));
        }
    }
    Ok(())
}
