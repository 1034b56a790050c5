//! Docker's `config.json`: `auths`, `credsStore`, `credHelpers`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::{Credentials, Secret, helper};
use crate::error::{Error, Kind, Result, quote};

/// How long a credential helper may take.
const HELPER_DEADLINE: Duration = Duration::from_secs(20);
/// No `config.json` is larger, in bytes.
const MAX_FILE: usize = 1 << 20;
/// Docker's key for its own registry.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// Credentials that `docker login` and its like left behind.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    path: PathBuf,
    wire: Wire,
    deadline: Duration,
    helpers: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wire {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

impl DockerConfig {
    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// [`Kind::Config`] with the file and key that is wrong.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let subject = || path.display().to_string();
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(path, &bytes).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::new(Kind::Config, subject(), "cannot read").because(&e)),
        }
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let subject = || path.display().to_string();
        if bytes.len() > MAX_FILE {
            return Err(Error::new(Kind::Config, subject(), "larger than 1 MiB"));
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let wire: Wire = serde_path_to_error::deserialize(&mut json).map_err(|e| {
            Error::new(
                Kind::Config,
                format!("{}: key {}", subject(), e.path()),
                e.inner().to_string(),
            )
        })?;
        for helper in wire.creds_store.iter().chain(wire.cred_helpers.values()) {
            helper::check_name(helper).map_err(|e| e.within(&subject()))?;
        }
        Ok(Self { path: path.to_owned(), wire, deadline: HELPER_DEADLINE, helpers: None })
    }

    /// Sets how long a credential helper may take.
    #[must_use]
    pub fn helper_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Looks for credential helpers in `folder` only, instead of along `PATH`.
    #[must_use]
    pub fn helpers_in(mut self, folder: &Path) -> Self {
        self.helpers = Some(folder.to_owned());
        self
    }

    /// The credentials for `registry` (host, or host with port), if there are any.
    ///
    /// # Errors
    /// [`Kind::Config`] when an entry is malformed or a helper fails, hangs or says too much.
    pub async fn find(&self, registry: &str) -> Result<Option<Credentials>> {
        let docker = matches!(registry, "docker.io" | "index.docker.io" | "registry-1.docker.io");
        let key = if docker { DOCKER_KEY } else { registry };
        let helpers = &self.wire.cred_helpers;
        let own = helpers
            .iter()
            .find(|(name, _)| host_of(name) == host_of(key))
            .map(|(_, helper)| helper);
        if let Some(helper) = own.or(self.wire.creds_store.as_ref())
            && let Some(found) = helper::get(&self.program(helper), key, self.deadline)
                .await
                .map_err(|e| self.place(e))?
        {
            return Ok(Some(found));
        }
        let exact = self.wire.auths.get_key_value(key);
        let found = exact
            .or_else(|| self.wire.auths.iter().find(|(name, _)| host_of(name) == host_of(key)));
        found.map_or(Ok(None), |(name, entry)| {
            entry.credentials().map_err(|e| self.place(e.within(&format!("auths.{}", quote(name)))))
        })
    }

    fn program(&self, helper: &str) -> PathBuf {
        let name = format!("docker-credential-{helper}");
        self.helpers.as_ref().map_or_else(|| PathBuf::from(&name), |folder| folder.join(&name))
    }

    fn place(&self, error: Error) -> Error {
        error.within(&self.path.display().to_string())
    }
}

/// The host that a key of `auths` is for: keys may be addresses with a scheme and a path.
fn host_of(key: &str) -> &str {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or_default();
    // Older tools wrote either name.
    if matches!(host, "docker.io" | "registry-1.docker.io") { "index.docker.io" } else { host }
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>> {
        let wrong = |why: &str| Error::new(Kind::Config, "auth", why);
        let given = |secret: &Option<Secret>| secret.clone().filter(|s| !s.reveal().is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credentials::Identity { token }));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Credentials::Bearer { token }));
        }
        if let (Some(username), Some(password)) = (&self.username, given(&self.password)) {
            return Ok(Some(Credentials::Password { username: username.clone(), password }));
        }
        let Some(auth) = given(&self.auth) else { return Ok(None) };
        let text = auth.reveal().trim();
        let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
        let bytes = bytes.map_err(|_| wrong("is not base64"))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 inside"))?;
        let (username, password) =
            text.split_once(':').ok_or_else(|| wrong("want user:password in base64"))?;
        Ok(Some(Credentials::password(username, password.trim_end_matches('\0'))))
    }
}

#[cfg(test)]
#[path = "docker_tests.rs"]
mod tests;
