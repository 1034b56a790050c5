//! The check of content against its digest.

use std::fmt;

use content_digest::{Digest, DigestError, Hasher};

use crate::error::{Error, Kind, Result};

impl From<DigestError> for Error {
    fn from(error: DigestError) -> Self {
        Error::new(Kind::Invalid, "", error.to_string())
    }
}

/// Hashes content as it passes, and says at the end whether it was what its digest names.
///
/// A clone is a checkpoint: a transfer that resumes after a restart feeds the bytes it has to a new verifier.
#[derive(Clone)]
pub struct Verifier {
    want: Digest,
    hasher: Hasher,
    seen: u64,
}

impl Verifier {
    /// Starts at the first byte of the content that `want` names.
    #[must_use]
    pub fn new(want: &Digest) -> Self {
        Self { want: want.clone(), hasher: want.hasher(), seen: 0 }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.seen += bytes.len() as u64;
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The digest that the content must have.
    #[must_use]
    pub fn want(&self) -> &Digest {
        &self.want
    }

    /// # Errors
    /// [`Kind::Mismatch`] when the content was something else.
    pub fn finish(self) -> Result<()> {
        let found = self.hasher.finish();
        if found == self.want {
            return Ok(());
        }
        let message = format!("the {} bytes received hash to {found}", self.seen);
        Err(Error::new(Kind::Mismatch, self.want.as_str(), message))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({}, {} bytes)", self.want, self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_compared() {
        let mut good = Verifier::new(&Digest::sha256(b"hello"));
        good.update(b"hel");
        let checkpoint = good.clone();
        good.update(b"lo");
        assert_eq!((good.seen(), checkpoint.seen()), (5, 3));
        good.finish().unwrap();
        assert_eq!(checkpoint.finish().unwrap_err().kind(), Kind::Mismatch);
        let long = "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043";
        let mut wide = Verifier::new(&long.parse().unwrap());
        wide.update(b"hello");
        wide.finish().unwrap();
    }
}
