//! Digests of content, as the image specification writes them.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt::{self, Write};

/// A hash function that content may be named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

    /// Its name in digests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }

    /// A new hash of it.
    #[must_use]
    pub fn hasher(self) -> Hasher {
        match self {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }
}

/// A hash being computed.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// Of SHA-256.
    Sha256(Sha256),
    /// Of SHA-512.
    Sha512(Sha512),
}

impl Hasher {
    /// Takes in more content.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(bytes),
            Hasher::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all that was taken in.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(hash) => Digest::of_hash(Algorithm::Sha256, &hash.finalize()),
            Hasher::Sha512(hash) => Digest::of_hash(Algorithm::Sha512, &hash.finalize()),
        }
    }
}

/// A digest: `sha256:` and 64 lower-case hexadecimal digits, or `sha512:` and 128. Image
/// specification 1.1, descriptor, "Digests". Safe as a file name by construction.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    text: Box<str>,
}

impl Digest {
    /// Reads a digest.
    ///
    /// # Errors
    /// [`Error::Digest`] when the algorithm is another, or the rest is not as many lower-case
    /// hexadecimal digits as it has.
    pub fn parse(text: &str) -> Result<Digest> {
        let wrong = |cause| {
            // A hostile text may be long.
            Error::Digest { text: text.chars().take(200).collect(), cause }
        };
        let (name, hex) = text.split_once(':').ok_or_else(|| wrong("is not ALGORITHM:HEX"))?;
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        let algorithm = algorithm.ok_or_else(|| wrong("want a sha256 or sha512 digest"))?;
        if hex.len() != algorithm.hex_len() {
            return Err(wrong("has the wrong length for its algorithm"));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong("want lower-case hexadecimal digits"));
        }
        Ok(Digest { text: text.into() })
    }

    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::of_hash(Algorithm::Sha256, &Sha256::digest(bytes))
    }

    fn of_hash(algorithm: Algorithm, hash: &[u8]) -> Digest {
        let mut text = String::with_capacity(8 + hash.len() * 2);
        text.push_str(algorithm.name());
        text.push(':');
        for byte in hash {
            let _infallible = write!(text, "{byte:02x}");
        }
        Digest { text: text.into() }
    }

    /// With the algorithm, as it was read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The hexadecimal digits alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.text.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The hash function.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        if self.text.starts_with("sha512:") { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;
    fn try_from(text: String) -> Result<Digest> {
        Digest::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_exact() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(Digest::parse(empty).expect("digest"), Digest::of(b""));
        let mut hash = Algorithm::Sha512.hasher();
        hash.update(b"abc");
        let long = hash.finish();
        assert!(long.as_str().starts_with("sha512:ddaf35a193617aba"), "{long}");
        assert_eq!(Digest::parse(long.as_str()).expect("digest").algorithm(), Algorithm::Sha512);
        assert_eq!(long.hex().len(), 128);
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let upper = format!("sha256:{}", "A".repeat(64));
        let dots = format!("sha256:{}", "../".repeat(21) + "a");
        let huge = "x".repeat(1_000_000);
        for text in
            ["", "sha256", "sha256:", "sha256:12", "md5:00", "sha512:00", &upper, &dots, &huge]
        {
            let error = Digest::parse(text).expect_err(text).to_string();
            assert!(error.len() < 1000, "a hostile text floods the message");
        }
    }
}
