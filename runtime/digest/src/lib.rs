//! Digests of content, as the image specification writes them (descriptor.md, "Digests"). No I/O.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt::{self, Write};
use std::str::FromStr;

/// A hash function that content may be named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, which every implementation knows.
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

    /// How many hexadecimal digits its digests have.
    #[must_use]
    pub fn digits(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }

    /// A new hash of it.
    #[must_use]
    pub fn hasher(self) -> Hasher {
        match self {
            Algorithm::Sha256 => Hasher(State::Sha256(Sha256::new())),
            Algorithm::Sha512 => Hasher(State::Sha512(Box::new(Sha512::new()))),
        }
    }
}

/// A hash being computed. A clone is a checkpoint of it.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// Takes in more content.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all that was taken in.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(hash) => Digest::of_hash(Algorithm::Sha256, &hash.finalize()),
            State::Sha512(hash) => Digest::of_hash(Algorithm::Sha512, &hash.finalize()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// The text is not a digest that can be verified here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("digest {text:?}: {cause}")]
pub struct DigestError {
    /// What was given, at most 160 characters of it.
    pub text: String,
    /// What is wrong with it.
    pub cause: &'static str,
}

/// A digest: `sha256:` and 64 lower-case hexadecimal digits, or `sha512:` and 128. Safe as a file
/// name by construction.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Box<str>);

impl Digest {
    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Digest {
        Digest::of_hash(Algorithm::Sha256, &Sha256::digest(bytes))
    }

    fn of_hash(algorithm: Algorithm, hash: &[u8]) -> Digest {
        let mut text = String::with_capacity(8 + hash.len() * 2);
        text.push_str(algorithm.name());
        text.push(':');
        for byte in hash {
            let _infallible = write!(text, "{byte:02x}");
        }
        Digest(text.into())
    }

    /// With the algorithm, as it was read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The hash function.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha512:") { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }

    /// A new hash of the same function, to verify content by.
    #[must_use]
    pub fn hasher(&self) -> Hasher {
        self.algorithm().hasher()
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        // A hostile text may be long.
        let wrong = |cause| DigestError { text: text.chars().take(160).collect(), cause };
        let (name, hex) = text
            .split_once(':')
            .ok_or_else(|| wrong("want ALGORITHM:HEX, as in sha256:e3b0c442..."))?;
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        let algorithm = algorithm.ok_or_else(|| wrong("want sha256 or sha512"))?;
        if hex.len() != algorithm.digits() {
            return Err(wrong("has the wrong length for its algorithm"));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong("want lower-case hexadecimal digits only"));
        }
        Ok(Digest(text.into()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Digest, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_are_exact() {
        assert_eq!(Digest::sha256(b"").as_str(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().expect("digest"), Digest::sha256(b""));
        let mut hash = Algorithm::Sha512.hasher();
        hash.update(b"a");
        let checkpoint = hash.clone();
        hash.update(b"bc");
        let long = hash.finish();
        assert!(long.as_str().starts_with("sha512:ddaf35a193617aba"), "{long}");
        assert_eq!(long.as_str().parse::<Digest>().expect("digest"), long);
        assert_eq!((long.algorithm(), long.hex().len()), (Algorithm::Sha512, 128));
        assert_ne!(checkpoint.finish(), long);
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let upper = format!("sha256:{}", "A".repeat(64));
        let dots = format!("sha256:{}", "../".repeat(21) + "a");
        let longer = format!("{EMPTY}0");
        let huge = "x".repeat(1_000_000);
        for text in ["", "sha256", "sha256:", "sha256:12", "md5:00", &upper, &dots, &longer, &huge]
        {
            let error = text.parse::<Digest>().expect_err(text).to_string();
            assert!(error.len() < 1000, "a hostile text floods the message");
            assert!(Digest::try_from(text.to_owned()).is_err());
        }
    }
}
