//! Content as it is read.

use crate::rows::{self, BlobRow};
use crate::store::Store;
use crate::{Digest, Error, Result};
use std::fs::File;
use std::io::{Read, Seek};

/// Bytes hashed at once.
const PIECE: usize = 256 * 1024;

/// A blob that is open and has been verified in this boot.
#[derive(Debug)]
pub struct Blob {
    /// At its beginning.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
}

impl Store {
    /// Opens a blob. The first time after a boot its digest is checked, which reads it whole.
    ///
    /// # Errors
    /// [`Error::NoBlob`]; [`Error::Damaged`] when it is not what its digest says: it is dropped
    /// then, and wants to be fetched again; [`Error::Io`], [`Error::Database`].
    pub fn open_blob(&self, digest: &Digest) -> Result<Blob> {
        let pending = self.inner.state().pending_blobs.get(digest).copied();
        let row = match pending {
            // Hashed by this process.
            Some((size, space)) => Some(BlobRow { size, space, verified: self.inner.boot }),
            None => self.inner.meta.read(|txn| rows::blob(txn, digest))?,
        };
        let row = row.ok_or_else(|| Error::NoBlob { digest: digest.clone() })?;
        let path = self.inner.dirs.blob(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(self.drop_damaged(digest, "the file is gone".to_owned()));
            }
            Err(e) => return Err(Error::io("open", &path)(e)),
        };
        let size = file.metadata().map_err(Error::io("look at", &path))?.len();
        if size != row.size {
            let cause = format!("{size} bytes where {} were written", row.size);
            return Err(self.drop_damaged(digest, cause));
        }
        if row.verified != self.inner.boot || row.verified == 0 {
            self.verify(digest, &mut file)?;
            let row = BlobRow { verified: self.inner.boot, ..row };
            self.inner.meta.write(|txn| rows::put_blob(txn, digest, row))?;
        }
        Ok(Blob { file, size })
    }

    /// A blob as a whole, of at most `limit` bytes. Its digest is checked every time.
    ///
    /// # Errors
    /// [`Error::TooLarge`], and as [`Store::open_blob`].
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let blob = self.open_blob(digest)?;
        if blob.size > limit {
            return Err(Error::TooLarge { digest: digest.clone(), size: blob.size, limit });
        }
        let mut bytes = Vec::new();
        let read = blob.file.take(limit).read_to_end(&mut bytes);
        read.map_err(Error::io("read", &self.inner.dirs.blob(digest)))?;
        let mut hasher = digest.algorithm().hasher();
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != *digest {
            return Err(self.drop_damaged(digest, format!("its digest is {found}")));
        }
        Ok(bytes)
    }

    /// Whether a blob is here and right. One that is damaged is dropped and counts as absent.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Database`].
    pub fn check_blob(&self, digest: &Digest) -> Result<bool> {
        match self.open_blob(digest) {
            Ok(_) => Ok(true),
            Err(Error::NoBlob { .. } | Error::Damaged { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The size in bytes of a blob that is known, without looking at it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        if let Some((size, _)) = self.inner.state().pending_blobs.get(digest) {
            return Ok(Some(*size));
        }
        Ok(self.inner.meta.read(|txn| rows::blob(txn, digest))?.map(|row| row.size))
    }

    fn verify(&self, digest: &Digest, file: &mut File) -> Result<()> {
        let path = self.inner.dirs.blob(digest);
        let mut hasher = digest.algorithm().hasher();
        let mut buffer = vec![0; PIECE];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                // A sector that cannot be read is damage, not a reason to fail for ever.
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    return Err(self.drop_damaged(digest, e.to_string()));
                }
                Err(e) => return Err(Error::io("read", &path)(e)),
            }
        }
        let found = hasher.finish();
        if found != *digest {
            return Err(self.drop_damaged(digest, format!("its digest is {found}")));
        }
        file.rewind().map_err(Error::io("rewind", &path))
    }

    /// Drops a damaged blob; images that need it stay, and the next pull repairs them.
    fn drop_damaged(&self, digest: &Digest, cause: String) -> Error {
        let mut state = self.inner.state();
        state.pending_blobs.remove(digest);
        let dropped = self
            .inner
            .meta
            .write(|txn| rows::drop_blob(txn, digest.as_str()).map(drop))
            .and_then(|()| self.inner.dirs.discard(&self.inner.dirs.blob(digest)));
        drop(state);
        match dropped.and_then(|()| self.inner.dirs.empty_trash()) {
            Ok(()) => Error::Damaged { digest: digest.clone(), cause },
            Err(e) => e,
        }
    }
}
