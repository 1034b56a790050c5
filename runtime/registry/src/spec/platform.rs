//! What an image runs on, and the choice of one image of an index.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Descriptor;
use crate::error::{Error, Kind, Result, quote};

/// An operating system and processor, in the names that Go uses, normalised: `arm64` without `v8`, `amd64`
/// without `v1`, 32-bit `arm` always with its variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(from = "Wire")]
pub struct Platform {
    /// Operating system, as in `linux`.
    pub os: String,
    /// Processor architecture, as in `amd64`.
    pub architecture: String,
    /// Variant of the processor, as in `v7`; empty for the baseline.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Version of the operating system; only Windows images have one.
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default, rename = "os.version")]
    os_version: Option<String>,
}

impl From<Wire> for Platform {
    fn from(wire: Wire) -> Self {
        let text = Option::unwrap_or_default;
        let mut platform = Self::new(&text(wire.os), &text(wire.architecture), &text(wire.variant));
        platform.os_version = text(wire.os_version);
        platform
    }
}

impl Platform {
    /// The normalised platform of these names.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (os, arch) = (os.to_ascii_lowercase(), architecture.to_ascii_lowercase());
        let variant = variant.to_ascii_lowercase();
        let os = if os == "macos" { "darwin".to_owned() } else { os };
        let (arch, variant) = match (arch.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", v) => ("amd64", v),
            ("i386" | "i486" | "i586" | "i686", _) => ("386", ""),
            ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
            ("aarch64", v) => ("arm64", v),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            (arch, v) => (arch, v),
        };
        let (architecture, variant) = (arch.to_owned(), variant.to_owned());
        Self { os, architecture, variant, os_version: String::new() }
    }

    /// The platform of this program.
    #[must_use]
    pub fn host() -> Self {
        let arch = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, arch, "")
    }

    /// How well an image for `offered` runs here: smaller is better, `None` not at all. Images for an older
    /// variant of the processor run, and so do 386 images on amd64 and 32-bit arm images on arm64.
    #[must_use]
    pub fn rank(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os {
            return None;
        }
        let (own, theirs) = (level(self), level(offered));
        match (self.architecture.as_str(), offered.architecture.as_str()) {
            (a, b) if a == b => match (own, theirs) {
                (Some(own), Some(theirs)) => own.checked_sub(theirs),
                _ => (self.variant == offered.variant).then_some(0),
            },
            ("amd64", "386") => Some(100),
            ("arm64", "arm") => theirs.filter(|v| *v <= 8).map(|v| 100 + (8 - v)),
            _ => None,
        }
    }

    /// The entry that fits best, the first of equals; entries that name no platform come last.
    #[must_use]
    pub fn choose<'a>(&self, entries: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let ranked = entries.iter().filter_map(|entry| {
            let rank = match &entry.platform {
                Some(offered) => self.rank(offered)?,
                None => u32::MAX,
            };
            Some((rank, entry))
        });
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
    }
}

/// The number of a variant where variants are ordered.
fn level(platform: &Platform) -> Option<u32> {
    let number = |default| match platform.variant.as_str() {
        "" => Some(default),
        v => v.strip_prefix('v')?.parse::<u32>().ok().filter(|n| *n < 100),
    };
    match platform.architecture.as_str() {
        "amd64" => number(1),
        "arm" => number(7),
        "arm64" => number(8),
        _ => None,
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `os/arch[/variant]`, or an architecture alone.
    fn from_str(text: &str) -> Result<Self> {
        let fine = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if text.len() > 64 || !parts.iter().all(|part| fine(part)) {
            let subject = format!("platform {}", quote(text));
            return Err(Error::new(Kind::Invalid, subject, "want os/arch or os/arch/variant"));
        }
        match parts[..] {
            [arch] => Ok(Self::new(std::env::consts::OS, arch, "")),
            [os, arch] => Ok(Self::new(os, arch, "")),
            [os, arch, variant] => Ok(Self::new(os, arch, variant)),
            _ => Err(Error::new(
                Kind::Invalid,
                format!("platform {}", quote(text)),
                "want os/arch or os/arch/variant",
            )),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Digest, MediaType};

    fn entry(platform: Option<&str>, content: &str) -> Descriptor {
        let mut entry = Descriptor::new(MediaType::Manifest, Digest::sha256(content.as_bytes()), 1);
        entry.platform = platform.map(|p| p.parse().unwrap());
        entry
    }

    fn chosen(want: &str, offers: &[&str]) -> Option<usize> {
        let entries: Vec<_> = offers.iter().map(|p| entry(Some(p), p)).collect();
        let want: Platform = want.parse().unwrap();
        let found = want.choose(&entries)?;
        entries.iter().position(|e| e == found)
    }

    #[test]
    fn names_are_normalised() {
        for (text, shown) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("Linux/AMD64", "linux/amd64"),
            ("arm64", "linux/arm64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), shown, "{text}");
        }
        for bad in ["", "/", "linux/", "linux/amd64/v1/x", "linux/../x", "a b"] {
            assert_eq!(bad.parse::<Platform>().unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn the_best_entry_wins() {
        assert_eq!(chosen("linux/amd64", &["linux/arm64", "linux/amd64"]), Some(1));
        assert_eq!(chosen("linux/amd64", &["linux/386", "windows/amd64"]), Some(0));
        assert_eq!(chosen("linux/amd64", &["linux/386", "linux/amd64/v2", "linux/amd64"]), Some(2));
        assert_eq!(chosen("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"]), Some(1));
        assert_eq!(chosen("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"]), Some(1));
        assert_eq!(chosen("linux/arm/v6", &["linux/arm/v7"]), None);
        assert_eq!(chosen("linux/arm64", &["linux/arm/v6", "linux/arm/v7"]), Some(1));
        assert_eq!(chosen("linux/s390x", &["linux/amd64", "unknown/unknown"]), None);
        assert_eq!(chosen("linux/riscv64", &["linux/riscv64"]), Some(0));
    }

    #[test]
    fn entries_without_a_platform_come_last() {
        let entries = [entry(None, "a"), entry(Some("linux/386"), "b")];
        let amd64 = Platform::new("linux", "amd64", "");
        assert_eq!(amd64.choose(&entries), Some(&entries[1]));
        assert_eq!(Platform::new("linux", "s390x", "").choose(&entries), Some(&entries[0]));
    }
}
