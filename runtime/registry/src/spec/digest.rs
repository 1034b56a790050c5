//! Content digests and the check of content against them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{Error, Kind, Result, quote};

/// A hash function that image-spec 1.1 registers and this runtime trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Its name in a digest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the hash in hexadecimal digits.
    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// The name of content: `sha256:` and 64 lower-case hexadecimal digits, or `sha512:` and 128.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(written(Algorithm::Sha256, &Sha256::digest(bytes)))
    }

    /// The digest as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash function.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha512:") { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }

    /// The hash in hexadecimal, without the name of the function.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }
}

fn written(algorithm: Algorithm, hash: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = format!("{}:", algorithm.as_str());
    for byte in hash {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::new(Kind::Invalid, format!("digest {}", quote(text)), why);
        let Some((name, hex)) = text.split_once(':') else {
            return Err(wrong("want algorithm:hex, as in sha256:9f86d0..."));
        };
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(wrong("want sha256 or sha512")),
        };
        if hex.len() != algorithm.digits() {
            return Err(wrong(&format!(
                "want {} hexadecimal digits, found {}",
                algorithm.digits(),
                hex.len()
            )));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong("want lower-case hexadecimal digits only"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
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

/// Hashes content as it passes, and says at the end whether it was what its digest names.
///
/// A clone is a checkpoint: a transfer that resumes after a restart feeds the bytes it has to a new verifier.
#[derive(Clone)]
pub struct Verifier {
    want: Digest,
    state: State,
    seen: u64,
}

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Verifier {
    /// Starts at the first byte of the content that `want` names.
    #[must_use]
    pub fn new(want: &Digest) -> Self {
        let state = match want.algorithm() {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::new(Sha512::new())),
        };
        Self { want: want.clone(), state, seen: 0 }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
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
        let found = match self.state {
            State::Sha256(hash) => written(Algorithm::Sha256, &hash.finalize()),
            State::Sha512(hash) => written(Algorithm::Sha512, &hash.finalize()),
        };
        if found == self.want.0 {
            return Ok(());
        }
        let message = format!("the {} bytes received hash to {found}", self.seen);
        Err(Error::new(Kind::Mismatch, self.want.0, message))
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

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_are_exact() {
        assert_eq!(Digest::sha256(b"").as_str(), EMPTY);
        let digest: Digest = EMPTY.parse().unwrap();
        assert_eq!((digest.algorithm(), digest.hex().len()), (Algorithm::Sha256, 64));
        let long = format!("sha512:{}", "a".repeat(128));
        assert_eq!(long.parse::<Digest>().unwrap().algorithm(), Algorithm::Sha512);
        for bad in [
            "",
            "sha256",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:../../etc/passwd",
        ] {
            assert_eq!(bad.parse::<Digest>().unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        assert!(EMPTY.to_uppercase().replace("SHA", "sha").parse::<Digest>().is_err());
        assert!(format!("{EMPTY}0").parse::<Digest>().is_err());
    }

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
