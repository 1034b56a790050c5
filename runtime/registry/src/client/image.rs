//! Manifests, indexes and configurations, verified.

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response};

use super::request::Question;
use super::{Repository, Route, read_bounded};
use crate::error::{Error, Kind, Result, quote};
use crate::spec::{
    Descriptor, Digest, Document, ImageConfig, MAX_INDEX_DEPTH, Manifest, MediaType, Platform,
    Verifier,
};

/// A manifest or index: its descriptor, its exact bytes, and what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Names the bytes.
    pub descriptor: Descriptor,
    /// The bytes that the digest is of.
    pub bytes: Bytes,
    /// What they say.
    pub document: Document,
}

/// An image for one platform, ready to fetch its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What the reference names: the index, or the manifest itself.
    pub target: Descriptor,
    /// Every document on the way, from the target to the manifest, which is the last.
    pub documents: Vec<Fetched>,
    /// The image.
    pub manifest: Manifest,
    /// The bytes of its configuration.
    pub config_bytes: Bytes,
    /// What they say.
    pub config: ImageConfig,
}

const DIGEST: &str = "docker-content-digest";

impl Repository {
    /// The digest, size and type that the reference has now, without fetching the document where the registry
    /// allows that.
    ///
    /// # Errors
    /// As the registry or the network fail; [`Kind::NotFound`] when there is no such image.
    pub async fn resolve(&self) -> Result<Descriptor> {
        let reference = &self.inner.reference;
        let path = format!("{}/manifests/{}", reference.repository(), reference.target());
        let question = Question { method: Method::HEAD, document: true, ..Question::get(path) };
        let head = self
            .inner
            .through(self.able(), |route, retries| {
                let question = question.clone();
                async move {
                    let answer = self.inner.ask_patiently(route, &question, retries).await?;
                    Ok(described(answer.headers()))
                }
            })
            .await;
        match head {
            Ok(Some(found)) if reference.digest().is_none_or(|want| *want == found.digest) => {
                Ok(found)
            }
            // Without usable headers, or for servers that know no HEAD, the document itself tells.
            Ok(_) => Ok(self.fetch().await?.descriptor),
            Err(e) if e.kind() == Kind::Refused => Ok(self.fetch().await?.descriptor),
            Err(e) => Err(e),
        }
    }

    /// Fetches the document that the reference names.
    ///
    /// # Errors
    /// As the registry or the network fail, and as [`Document::parse`] refuses.
    pub async fn fetch(&self) -> Result<Fetched> {
        let reference = &self.inner.reference;
        let path = format!("{}/manifests/{}", reference.repository(), reference.target());
        let want = Want { digest: reference.digest(), size: None, media_type: None };
        self.document(path, want, self.able()).await
    }

    /// Fetches the manifest or index that `descriptor` points at.
    ///
    /// # Errors
    /// As [`Self::fetch`]; [`Kind::Mismatch`] when it is not what the descriptor says.
    pub async fn manifest(&self, descriptor: &Descriptor) -> Result<Fetched> {
        let path = format!("{}/manifests/{}", self.inner.reference.repository(), descriptor.digest);
        let limit = self.inner.shared.config.max_manifest;
        if descriptor.size > limit {
            return Err(self.too_large(&descriptor.digest, descriptor.size, limit));
        }
        let known = &descriptor.media_type;
        let want = Want {
            digest: Some(&descriptor.digest),
            size: Some(descriptor.size),
            media_type: Some(known)
                .filter(|m| m.is_manifest() || m.is_index() || **m == MediaType::DockerSchema1),
        };
        let mut found = self.document(path, want, |route| route.link.endpoint.pull).await?;
        found.descriptor.platform.clone_from(&descriptor.platform);
        Ok(found)
    }

    /// Fetches a small blob whole, such as an image's configuration.
    ///
    /// # Errors
    /// As [`Self::fetch`]; [`Kind::TooLarge`] above the configured size.
    pub async fn config(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let limit = self.inner.shared.config.max_config;
        if descriptor.size > limit {
            return Err(self.too_large(&descriptor.digest, descriptor.size, limit));
        }
        let path = format!("{}/blobs/{}", self.inner.reference.repository(), descriptor.digest);
        let question = Question::get(path);
        let idle = self.inner.shared.config.idle_timeout;
        let attempt = |route, retries| {
            let question = question.clone();
            async move {
                let answer = self.inner.ask_patiently(route, &question, retries).await?;
                let bytes = read_bounded(answer, descriptor.size, idle).await?;
                verify(route, &bytes, Some(&descriptor.digest), Some(descriptor.size))?;
                Ok(bytes)
            }
        };
        self.inner.through(|route| route.link.endpoint.pull, attempt).await
    }

    /// Follows the reference down to the image for `platform`, and fetches its configuration.
    ///
    /// # Errors
    /// As [`Self::fetch`]; [`Kind::NotFound`] with the platforms that there are; [`Kind::Refused`] for indexes
    /// nested too deeply and for what is no image.
    pub async fn image(&self, platform: &Platform) -> Result<Image> {
        let within = |e: Error| e.within(&self.inner.reference.to_string());
        let mut documents = vec![self.fetch().await?];
        let target = documents[0].descriptor.clone();
        let manifest = loop {
            let depth = documents.len();
            let next = match documents.last().map(|last| &last.document) {
                Some(Document::Manifest(manifest)) => break manifest.clone(),
                Some(Document::Index(_)) if depth > MAX_INDEX_DEPTH => {
                    let message = format!("indexes nested more than {MAX_INDEX_DEPTH} deep");
                    return Err(within(Error::new(Kind::Refused, "index", message)));
                }
                Some(Document::Index(index)) => index.choose(platform).map_err(within)?.clone(),
                None => return Err(within(Error::new(Kind::Invalid, "index", "is empty"))),
            };
            documents.push(self.manifest(&next).await?);
        };
        manifest.require_image().map_err(within)?;
        let config_bytes = self.config(&manifest.config).await?;
        let config = ImageConfig::parse(&config_bytes).map_err(within)?;
        if config.diff_ids.len() != manifest.layers.len() {
            let message =
                format!("{} layers, but {} diff_ids", manifest.layers.len(), config.diff_ids.len());
            return Err(within(Error::new(Kind::Invalid, "image configuration", message)));
        }
        Ok(Image { target, documents, manifest, config_bytes, config })
    }

    /// Who may be asked what the reference names: a tag needs trust, a digest proves itself.
    fn able(&self) -> fn(&Route) -> bool {
        match self.inner.reference.digest() {
            Some(_) => |route| route.link.endpoint.pull,
            None => |route| route.link.endpoint.resolve,
        }
    }

    fn too_large(&self, digest: &Digest, size: u64, limit: u64) -> Error {
        let message = format!("{size} bytes, at most {limit} are read");
        Error::new(Kind::TooLarge, digest.as_str(), message)
            .within(&self.inner.reference.to_string())
    }

    async fn document(
        &self,
        path: String,
        want: Want<'_>,
        able: fn(&Route) -> bool,
    ) -> Result<Fetched> {
        let question = Question { document: true, ..Question::get(path) };
        let attempt = |route, retries| {
            let question = question.clone();
            async move {
                let answer = self.inner.ask_patiently(route, &question, retries).await?;
                self.read_document(route, answer, want).await
            }
        };
        self.inner.through(able, attempt).await
    }

    async fn read_document(
        &self,
        route: &Route,
        answer: Response,
        want: Want<'_>,
    ) -> Result<Fetched> {
        let config = &self.inner.shared.config;
        let said = described(answer.headers());
        let typed = media_type(answer.headers());
        let bytes = read_bounded(answer, config.max_manifest, config.idle_timeout).await?;
        verify(route, &bytes, want.digest, want.size)?;
        let host = route.link.endpoint.host();
        let digest = match want.digest {
            Some(digest) => digest.clone(),
            None => Digest::sha256(&bytes),
        };
        if let Some(said) = said
            && said.digest.algorithm() == digest.algorithm()
            && said.digest != digest
        {
            let message = format!("says {} and sends {digest}", said.digest);
            return Err(Error::new(Kind::Mismatch, host, message));
        }
        let declared = want.media_type.or(typed.as_ref());
        let document = Document::parse(&bytes, declared).map_err(|e| e.within(&host))?;
        let descriptor = Descriptor::new(document.media_type().clone(), digest, bytes.len() as u64);
        Ok(Fetched { descriptor, bytes, document })
    }
}

/// What is known about a document before it is fetched.
#[derive(Clone, Copy)]
struct Want<'a> {
    digest: Option<&'a Digest>,
    size: Option<u64>,
    media_type: Option<&'a MediaType>,
}

fn verify(route: &Route, bytes: &[u8], digest: Option<&Digest>, size: Option<u64>) -> Result<()> {
    let host = route.link.endpoint.host();
    if let Some(size) = size.filter(|size| *size != bytes.len() as u64) {
        let message = format!("sends {} bytes of {size}", bytes.len());
        return Err(Error::new(Kind::Mismatch, host, message));
    }
    let Some(digest) = digest else { return Ok(()) };
    let mut verifier = Verifier::new(digest);
    verifier.update(bytes);
    verifier.finish().map_err(|e| e.within(&host))
}

fn media_type(headers: &HeaderMap) -> Option<MediaType> {
    Some(MediaType::parse(headers.get(CONTENT_TYPE)?.to_str().ok()?))
}

/// The descriptor that the head of an answer gives, where it is complete.
fn described(headers: &HeaderMap) -> Option<Descriptor> {
    let digest: Digest = headers.get(DIGEST)?.to_str().ok()?.parse().ok()?;
    let size = headers.get(reqwest::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    let media = media_type(headers)?;
    (media.is_manifest() || media.is_index()).then(|| Descriptor::new(media, digest, size))
}

impl std::fmt::Display for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", quote(self.descriptor.media_type.as_str()), self.descriptor.digest)
    }
}
