//! Unpacking: one pass from the compressed stream to files.

mod dirs;
mod extract;
mod file;
mod target;
mod whiteout;

use crate::compression::{Compression, Decoder, Meter};
use crate::error::{Error, Kind};
use crate::limits::Limits;
use crate::owner::Owner;
use crate::path::RelativePath;
use crate::tar::{Archive, Stream};
use crate::usage::Usage;
use content_digest::Digest;
use extract::Extractor;
use std::io::Read;
use std::os::fd::BorrowedFd;

/// What the stream must turn out to be. `None` is not looked at.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// What the media type says; the first bytes must agree.
    pub compression: Option<Compression>,
    /// Digest of the compressed bytes, from the manifest.
    pub digest: Option<Digest>,
    /// Number of compressed bytes, from the manifest.
    pub size: Option<u64>,
    /// Digest of the tar stream, from the image configuration.
    pub diff_id: Option<Digest>,
}

/// What becomes of whiteouts: the marks for "a lower layer's file is gone".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whiteouts {
    /// What the kernel's overlay reads: character devices 0/0 and `trusted.overlay.opaque`.
    #[default]
    Overlay,
    /// The same with `user.overlay.opaque`, for an overlay mounted with `userxattr`.
    UserOverlay,
    /// Empty files with the names they have in the layer, for who merges layers by copying.
    Files,
}

/// What becomes of device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// They are made.
    #[default]
    Create,
    /// They are left out and counted: a process in a user namespace cannot make them.
    Skip,
}

/// How to unpack.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What becomes of whiteouts.
    pub whiteouts: Whiteouts,
    /// Whose files they are.
    pub owner: Owner,
    /// What becomes of device nodes.
    pub devices: Devices,
    /// Bounds.
    pub limits: Limits,
}

/// What was unpacked.
#[derive(Debug, Clone)]
pub struct Report {
    /// Digest of the tar stream.
    pub diff_id: Digest,
    /// Bytes of the tar stream.
    pub tar_bytes: u64,
    /// Compressed bytes.
    pub compressed_bytes: u64,
    /// What the files take on disk.
    pub usage: Usage,
    /// Entries read.
    pub entries: u64,
    /// Whether the layer hides everything beneath it.
    pub opaque_root: bool,
    /// Whether the layer says what the root directory is like.
    pub root_described: bool,
    /// Directories that the layer did not describe, but has files in. Where a lower layer has
    /// them, its mode and owner are meant to stay.
    pub implied: Vec<RelativePath>,
    /// Device nodes left out.
    pub skipped_devices: u64,
    /// Attributes left out: notes of an overlay, labels of another machine, or not possible here.
    pub skipped_xattrs: u64,
}

/// Unpacks the layer that `input` yields into the empty directory at `target`.
///
/// Nothing is synced: the caller syncs the file system once for all layers of an image.
///
/// # Errors
/// The stream differs from `expect`, is damaged, hostile, or passes a limit; or the kernel refused
/// something. The target then holds a part, which the caller removes with
/// [`remove_tree`](crate::remove_tree). Bytes that are not those of the manifest are told by
/// [`Kind::DigestMismatch`] or [`Kind::SizeMismatch`] before any complaint about their content.
pub fn unpack(
    input: impl Read,
    target: BorrowedFd<'_>,
    expect: &Expect,
    options: &Options,
) -> Result<Report, Error> {
    let meter = Meter::new(input, expect.digest.as_ref(), expect.size);
    let decoder = Decoder::open(meter, expect.compression, &options.limits)?;
    let hasher = expect
        .diff_id
        .as_ref()
        .map_or_else(|| content_digest::Algorithm::Sha256.hasher(), Digest::hasher);
    let mut archive = Archive::new(Stream::new(decoder, hasher, &options.limits), &options.limits);
    let mut extractor = Extractor::new(target, options)?;
    match extractor.run(&mut archive).and_then(|()| archive.drain()) {
        Ok(()) => finish(archive, extractor, expect),
        Err(e) => Err(blame(archive, e, expect)),
    }
}

/// A stream that broke in the middle: were its bytes the right ones at all?
fn blame<R: Read>(archive: Archive<R>, found: Error, expect: &Expect) -> Error {
    // Without a size the source could go on for ever; a failed disk is nobody's fault.
    let hopeless = matches!(found.kind(), Kind::Source | Kind::Io | Kind::Limit);
    if hopeless || expect.size.is_none() {
        return found;
    }
    let decoder = archive.into_stream().into_decoder();
    match decoder.verdict(expect.digest.as_ref(), expect.size) {
        Ok(()) => found,
        Err(verdict) => verdict,
    }
}

fn finish<R: Read>(
    archive: Archive<R>,
    extractor: Extractor<'_>,
    expect: &Expect,
) -> Result<Report, Error> {
    let ends = archive.into_stream().finish(expect.digest.as_ref(), expect.size)?;
    if let Some(diff_id) = expect.diff_id.as_ref().filter(|diff_id| **diff_id != ends.diff_id) {
        let detail = format!("its tar stream has the digest {}", ends.diff_id);
        return Err(Error::new(Kind::DiffIdMismatch, diff_id.to_string(), detail));
    }
    let mut report = extractor.finish()?;
    report.diff_id = ends.diff_id;
    report.tar_bytes = ends.bytes;
    report.compressed_bytes = ends.compressed;
    Ok(report)
}
