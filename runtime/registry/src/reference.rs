//! Image references, as people write them and as they mean.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::error::{Error, Kind, Result, quote};
use crate::spec::Digest;

/// Longest repository path, in bytes (distribution-spec 1.1 leaves room for a host below 255).
const MAX_PATH: usize = 255;
/// Longest registry host with its port, in bytes.
const MAX_HOST: usize = 255;
/// Longest tag, in bytes.
const MAX_TAG: usize = 128;
/// Nothing longer is even looked at, in bytes.
const MAX_TEXT: usize = MAX_HOST + 1 + MAX_PATH + 1 + MAX_TAG + 1 + 7 + 128;

/// The name of an image: registry, repository, and a tag, a digest or both.
///
/// `busybox` means `docker.io/library/busybox:latest`. With tag and digest the digest decides, and the tag is
/// only a remark.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host, with its port if one was written: `docker.io`, `[::1]:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry: `library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `None` only when there is a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference is pinned.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What a registry is asked for: the digest, or else the tag.
    #[must_use]
    pub fn target(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }

    /// Registry and repository: `docker.io/library/busybox`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository at `digest` alone.
    #[must_use]
    pub fn at(&self, digest: &Digest) -> Self {
        Self { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// As short as people write it: `busybox:latest`, `docker.io` and `library` left out.
    #[must_use]
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        match full.strip_prefix("docker.io/") {
            Some(rest) => rest.strip_prefix("library/").unwrap_or(rest).to_owned(),
            None => full,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|e| e.within(&format!("image reference {}", quote(text))))
    }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, "", message)
}

fn parse(text: &str) -> Result<Reference> {
    if text.is_empty() {
        return Err(wrong("is empty"));
    }
    if text.len() > MAX_TEXT {
        return Err(wrong(format!("{} bytes, at most {MAX_TEXT}", text.len())));
    }
    if text.contains("://") {
        return Err(wrong("has a scheme; want host/repository:tag").advise("leave out https://"));
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
        None => (text, None),
    };
    let (registry, path) = split_host(rest)?;
    let (path, tag) = match path.split_once(':') {
        Some((path, tag)) => (path, Some(check_tag(tag)?)),
        None => (path, None),
    };
    check_path(path)?;
    let (registry, repository) = match registry.as_str() {
        "docker.io" | "index.docker.io" if !path.contains('/') => {
            ("docker.io".to_owned(), format!("library/{path}"))
        }
        "index.docker.io" => ("docker.io".to_owned(), path.to_owned()),
        _ => (registry, path.to_owned()),
    };
    if repository.len() > MAX_PATH {
        return Err(wrong(format!("repository of {} bytes, at most {MAX_PATH}", repository.len())));
    }
    let tag = match (tag, &digest) {
        (None, None) => Some("latest".to_owned()),
        (tag, _) => tag,
    };
    Ok(Reference { registry, repository, tag, digest })
}

/// Splits off the registry: the first part, when it looks like a host.
fn split_host(text: &str) -> Result<(String, &str)> {
    let Some((first, rest)) = text.split_once('/') else {
        return Ok(("docker.io".to_owned(), text));
    };
    // Upper case alone makes no host: written in lower case, it would name something at docker.io.
    let is_host = first.contains(['.', ':', '[']) || first.eq_ignore_ascii_case("localhost");
    if !is_host {
        return Ok(("docker.io".to_owned(), text));
    }
    check_host(first)?;
    Ok((first.to_ascii_lowercase(), rest))
}

/// Checks `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn check_host(text: &str) -> Result<()> {
    let bad = |why: &str| Err(wrong(format!("registry host {}: {why}", quote(text))));
    if text.len() > MAX_HOST {
        return bad("too long");
    }
    let (host, port) = if let Some(inner) = text.strip_prefix('[') {
        let Some((v6, after)) = inner.split_once(']') else {
            return bad("want ] after the address");
        };
        if v6.parse::<Ipv6Addr>().is_err() {
            return bad("no IPv6 address in the brackets");
        }
        match after.strip_prefix(':') {
            None if after.is_empty() => return Ok(()),
            None => return bad("want : and a port after ]"),
            Some(port) => (None, Some(port)),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        }
    };
    if let Some(port) = port
        && (port.is_empty()
            || !port.bytes().all(|b| b.is_ascii_digit())
            || !port.parse::<u16>().is_ok_and(|p| p > 0))
    {
        return bad("port: want 1 to 65535");
    }
    if host.is_some_and(|host| !host.split('.').all(is_label)) {
        return bad("want labels of letters, digits and hyphens");
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn check_tag(tag: &str) -> Result<String> {
    let bad = |why: &str| Err(wrong(format!("tag {}: {why}", quote(tag))));
    if tag.is_empty() {
        return bad("is empty");
    }
    if tag.len() > MAX_TAG {
        return bad("at most 128 characters");
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
        || !tag.bytes().next().is_some_and(word)
    {
        return bad("want letters, digits, _, . and -, and no . or - in front");
    }
    Ok(tag.to_owned())
}

fn check_path(path: &str) -> Result<()> {
    let bad = |why: &str| Err(wrong(format!("repository {}: {why}", quote(path))));
    if path.is_empty() {
        return bad("is empty");
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return bad("must be lower case");
    }
    if path.len() == 64 && path.bytes().all(|b| b.is_ascii_hexdigit()) {
        return bad("64 hexadecimal digits are an image id, not a name");
    }
    if path.split('/').all(is_component) {
        Ok(())
    } else {
        bad("want parts of a-z and 0-9, joined by ., _, __ or -")
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(part: &str) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().is_some_and(plain) || !bytes.last().is_some_and(plain) {
        return false;
    }
    let separators = bytes.split(plain).filter(|run| !run.is_empty());
    separators
        .into_iter()
        .all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
