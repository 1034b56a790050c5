//! Which image is meant, and what it is called.

use crate::{Catalog, Error, Kind, Result};
use registry::Reference;
use serde::Serialize;
use store::{Digest, Image, Name};

/// Fewer digits are no short ID.
const SHORT: usize = 4;

/// An image as the container runtime interface and lists want it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Digest of its configuration.
    pub id: Digest,
    /// Its tags, `host/path:tag`.
    pub repo_tags: Vec<String>,
    /// What its tags and pulls by digest had, `host/path@digest`.
    pub repo_digests: Vec<String>,
    /// Bytes of manifest, configuration and compressed layers.
    pub size: u64,
    /// When it was built, as its configuration says, RFC 3339.
    pub created: Option<String>,
    /// When it came here, in seconds since 1970.
    pub added: u64,
    /// Operating system and architecture.
    pub platform: String,
    /// The user that its configuration names, USER or USER:GROUP; `0` where it names none.
    pub user: String,
    /// The user as a number, where it is one.
    pub uid: Option<u32>,
    /// Not removed when it is unused.
    pub pinned: bool,
}

impl From<Image> for Summary {
    fn from(image: Image) -> Summary {
        let (repo_digests, repo_tags) =
            image.names.into_iter().map(|name| name.name).partition(|name| name.contains('@'));
        let uid = image.user.split(':').next().and_then(|user| user.parse().ok());
        Summary {
            id: image.id,
            repo_tags,
            repo_digests,
            size: image.size,
            created: image.created,
            added: image.added / 1_000_000_000,
            platform: image.platform,
            user: image.user,
            uid,
            pinned: image.pinned,
        }
    }
}

/// What somebody means by a text.
#[derive(Debug)]
pub(crate) enum Meant {
    /// The image by this name.
    Name(Name),
    /// The image itself.
    Image(Digest),
}

impl Meant {
    pub(crate) fn image(&self) -> &Digest {
        match self {
            Meant::Name(name) => &name.image,
            Meant::Image(id) => id,
        }
    }
}

/// The name that a reference has in the store: with a digest, the tag says nothing.
pub(crate) fn key(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => reference.at(digest).to_string(),
        None => reference.to_string(),
    }
}

/// The names that an image gets by being pulled or imported as `reference`.
pub(crate) fn names_for(
    reference: &Reference,
    (image, target, manifest): (&Digest, &Digest, &Digest),
    since: u64,
) -> Result<Vec<Name>> {
    let name = |name: String, implied| Name {
        name,
        image: image.clone(),
        target: target.clone(),
        manifest: manifest.clone(),
        since,
        implied,
    };
    let by_digest = reference.at(target).to_string();
    let asked = key(reference);
    let mut names = vec![name(asked.clone(), false)];
    if by_digest != asked {
        names.push(name(by_digest, true));
    }
    Ok(names)
}

impl Catalog {
    /// All images, sorted by ID.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self) -> Result<Vec<Summary>> {
        Ok(self.store.images()?.into_iter().map(Summary::from).collect())
    }

    /// The image that is meant: by tag, by digest, by full or short ID.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Ambiguous`], or the store fails.
    pub fn resolve(&self, text: &str) -> Result<Summary> {
        let meant = self.meant(text)?;
        Ok(self.store.image(meant.image())?.into())
    }

    /// As [`Catalog::resolve`]; none if there is no such image.
    ///
    /// # Errors
    /// [`Kind::Ambiguous`], or the store fails.
    pub fn get(&self, text: &str) -> Result<Option<Summary>> {
        match self.resolve(text) {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.kind() == Kind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn meant(&self, text: &str) -> Result<Meant> {
        let store = &self.store;
        if text.parse::<Digest>().is_ok() {
            let hex = text.split_once(':').map_or(text, |(_, hex)| hex);
            return Ok(Meant::Image(store.by_prefix(hex)?));
        }
        let reference = text.parse::<Reference>();
        if let Ok(reference) = &reference
            && let Some(name) = store.name(&key(reference))?
        {
            return Ok(Meant::Name(name));
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex && (SHORT..=64).contains(&hex.len()) {
            return match store.by_prefix(hex) {
                Ok(id) => Ok(Meant::Image(id)),
                Err(store::Error::NoImage { .. }) => Err(missing(text)),
                Err(e) => Err(e.into()),
            };
        }
        match reference {
            Ok(_) => Err(missing(text)),
            Err(e) => Err(e.into()),
        }
    }
}

fn missing(text: &str) -> Error {
    Error::new(Kind::NotFound, text, "no such image here")
}
