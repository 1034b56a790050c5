//! Content on its way in.

use crate::store::{Inner, Store};
use crate::{Algorithm, Digest, Error, Hasher, Result, disk};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes read at once when a partial download is taken up again.
const PIECE: usize = 256 * 1024;
/// Partial downloads start to be written out at this many new bytes, so that the sync at the end
/// has little left to do.
const WRITE_OUT: u64 = 8 << 20;

/// One blob being written. Dropped before [`Ingest::finish`], what was written stays and the next
/// [`Store::ingest`] of the digest goes on from there, in this process or another.
#[derive(Debug)]
pub struct Ingest {
    inner: Arc<Inner>,
    path: PathBuf,
    file: File,
    /// None for content whose digest is not known yet.
    expected: Option<Digest>,
    size: Option<u64>,
    offset: u64,
    /// Bytes on disk that the hash has not seen: set until replayed.
    unseen: u64,
    written_out: u64,
    hasher: Hasher,
}

impl Store {
    /// Begins or goes on to write the blob `digest`, of `size` bytes if that is known. What was
    /// there before may be read by [`Ingest::read_back`]; the first write otherwise does it.
    ///
    /// # Errors
    /// [`Error::Busy`] when it is being written already; [`Error::Io`].
    pub fn ingest(&self, digest: &Digest, size: Option<u64>) -> Result<Ingest> {
        let inner = &self.inner;
        let path = inner.dirs.partial(digest);
        {
            let mut state = inner.state();
            if !state.writing.insert(digest.clone()) {
                return Err(Error::Busy { digest: digest.clone() });
            }
            let is_known = state.pending_blobs.contains_key(digest);
            // From here on, the guard in Ingest's Drop would be needed; so fail without leaving a mark.
            let adopted = if is_known { Ok(()) } else { adopt_stray(inner, digest, &path) };
            if let Err(e) = adopted {
                state.writing.remove(digest);
                return Err(e);
            }
        }
        let begun = Ingest::begin(inner, path, Some(digest.clone()), size);
        if begun.is_err() {
            inner.state().writing.remove(digest);
        }
        begun
    }

    /// Begins to write a blob whose SHA-256 digest is to be found.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn ingest_unnamed(&self) -> Result<Ingest> {
        let path = self.inner.dirs.ingest().join(format!("unnamed-{}", disk::unique()));
        Ingest::begin(&self.inner, path, None, None)
    }

    /// Writes a blob at once. Returns its SHA-256 digest.
    ///
    /// # Errors
    /// As [`Ingest::finish`].
    pub fn add_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256(bytes);
        if !self.check_blob(&digest)? {
            let mut ingest = self.ingest_unnamed()?;
            ingest.write(bytes)?;
            ingest.finish()?;
        }
        Ok(digest)
    }

    /// Writes a blob of a known digest at once, unless it is there.
    ///
    /// # Errors
    /// [`Error::Busy`], and as [`Ingest::finish`].
    pub fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if self.check_blob(digest)? {
            return Ok(());
        }
        let mut ingest = self.ingest(digest, Some(bytes.len() as u64))?;
        ingest.restart()?;
        ingest.write(bytes)?;
        ingest.finish().map(drop)
    }

    /// Deletes a blob that was only needed for a while: one that no image has and no hold of
    /// somebody else keeps.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn discard_blob(&self, digest: &Digest) -> Result<()> {
        {
            let mut state = self.inner.state();
            let is_shared = state.held_blobs.get(digest).is_some_and(|holds| *holds > 1);
            if is_shared || state.pending_blobs.remove(digest).is_none() {
                return Ok(());
            }
            self.inner.dirs.discard(&self.inner.dirs.blob(digest))?;
        }
        self.inner.dirs.empty_trash()
    }
}

/// A blob under its final name that nobody knows was whole when its process ended before the
/// commit, or is what a power cut left: it is hashed like any partial download.
fn adopt_stray(inner: &Inner, digest: &Digest, partial: &PathBuf) -> Result<()> {
    let blob = inner.dirs.blob(digest);
    if !blob.exists() || inner.meta.read(|txn| crate::rows::blob(txn, digest))?.is_some() {
        return Ok(());
    }
    fs::rename(&blob, partial).map_err(Error::io("move", &blob))
}

impl Ingest {
    fn begin(
        inner: &Arc<Inner>,
        path: PathBuf,
        expected: Option<Digest>,
        size: Option<u64>,
    ) -> Result<Ingest> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(Error::io("open", &path))?;
        let unseen = file.metadata().map_err(Error::io("look at", &path))?.len();
        let algorithm = expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let mut ingest = Ingest {
            inner: Arc::clone(inner),
            path,
            file,
            expected,
            size,
            offset: unseen,
            unseen,
            written_out: 0,
            hasher: algorithm.hasher(),
        };
        if ingest.size.is_some_and(|size| size < unseen) {
            ingest.restart()?;
        }
        Ok(ingest)
    }

    /// How many bytes are there already.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads, once, what an earlier attempt left, so that it can be unpacked on the way; zero when
    /// all of it was read.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_back(&mut self, into: &mut [u8]) -> Result<usize> {
        let want = into.len().min(usize::try_from(self.unseen).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let at = self.offset - self.unseen;
        let read = self.file.read_exact_at(&mut into[..want], at);
        read.map_err(Error::io("read", &self.path))?;
        self.hasher.update(&into[..want]);
        self.unseen -= want as u64;
        Ok(want)
    }

    /// A reader of what an earlier attempt left, for who must know it before more comes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn partial(&self) -> Result<std::io::Take<File>> {
        use std::io::Read;
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        Ok(file.take(self.unseen))
    }

    fn read_all_back(&mut self) -> Result<()> {
        if self.unseen > 0 {
            let mut buffer = vec![0; PIECE];
            while self.read_back(&mut buffer)? > 0 {}
        }
        Ok(())
    }

    /// Forgets what was written and begins anew.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(Error::io("cut", &self.path))?;
        let algorithm = self.expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        self.hasher = algorithm.hasher();
        (self.offset, self.unseen, self.written_out) = (0, 0, 0);
        Ok(())
    }

    /// Writes more content.
    ///
    /// # Errors
    /// [`Error::Size`] beyond the announced size; [`Error::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.read_all_back()?;
        let end = self.offset + bytes.len() as u64;
        if let (Some(size), Some(digest)) = (self.size, &self.expected)
            && end > size
        {
            return Err(Error::Size { digest: digest.clone(), expected: size, found: end });
        }
        let wrote = self.file.write_all_at(bytes, self.offset);
        wrote.map_err(Error::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.offset = end;
        if self.offset - self.written_out >= WRITE_OUT {
            self.written_out = self.offset;
            begin_write_out(&self.file);
        }
        Ok(())
    }

    /// Checks the digest and puts the blob in its place. It is durable only after
    /// [`Store::commit`].
    ///
    /// # Errors
    /// [`Error::Size`] and [`Error::Mismatch`]; the wrong content is gone then.
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<Digest> {
        self.read_all_back()?;
        let found = self.hasher.clone().finish();
        if let (Some(expected), Some(size)) = (&self.expected, self.size)
            && self.offset != size
        {
            let digest = expected.clone();
            return Err(Error::Size { digest, expected: size, found: self.offset });
        }
        if let Some(expected) = self.expected.clone().filter(|expected| *expected != found) {
            self.inner.dirs.discard(&self.path)?;
            self.inner.dirs.empty_trash()?;
            return Err(Error::Mismatch { expected, found });
        }
        let meta = self.file.metadata().map_err(Error::io("look at", &self.path))?;
        let place = self.inner.dirs.blob(&found);
        // Known before it is in place: a collection must not take it for a stray.
        let space = disk::space(&meta);
        let known = self.inner.state().pending_blobs.insert(found.clone(), (self.offset, space));
        if let Err(e) = fs::rename(&self.path, &place) {
            if known.is_none() {
                self.inner.state().pending_blobs.remove(&found);
            }
            return Err(Error::io("put in place", &self.path)(e));
        }
        Ok(found)
    }
}

/// Asks the kernel to begin to write, without waiting. Only for speed.
fn begin_write_out(file: &File) {
    let advice = rustix::fs::Advice::DontNeed;
    // On a range with dirty pages this starts their writing; whether it does is the kernel's
    // choice, and the sync of the commit does not rely on it.
    let _only_advice = rustix::fs::fadvise(file, 0, None, advice);
}

impl Drop for Ingest {
    fn drop(&mut self) {
        match &self.expected {
            Some(digest) => {
                self.inner.state().writing.remove(digest);
            }
            // Without a digest nobody can go on with it. Already in place after finish.
            None => {
                let _placed_or_gone = fs::remove_file(&self.path);
            }
        }
    }
}
