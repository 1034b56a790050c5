//! A bundle: a directory with a `config.json` (bundle.md).

use crate::{Error, Result};
use runtime_spec::Spec;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A container's configuration, read once.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The directory, absolute.
    pub path: PathBuf,
    /// The configuration.
    pub spec: Spec,
    /// Its text, kept with the container's state.
    pub(crate) text: Vec<u8>,
}

impl Bundle {
    /// Reads the bundle in a directory.
    ///
    /// # Errors
    /// There is no `config.json`, or it is no configuration.
    pub fn open(dir: &Path) -> Result<Bundle> {
        let path = dir.canonicalize().map_err(|error| Error::path(dir, "bundle", &error))?;
        let config = path.join("config.json");
        let fail = |error| Error::path(&config, "read", &error);
        let file = std::fs::File::open(&config).map_err(fail)?;
        let text = read(file, runtime_spec::DOCUMENT_MAX).map_err(fail)?;
        let spec = Spec::from_json(&text)
            .map_err(|error| Error::from(error).within(&config.display().to_string()))?;
        Ok(Bundle { path, spec, text })
    }

    /// A configuration that is not from a file; relative paths in it start at `dir`, which is absolute.
    ///
    /// # Errors
    /// It cannot be written as a document.
    pub fn new(dir: &Path, spec: Spec) -> Result<Bundle> {
        let text = serde_json::to_vec(&spec)
            .map_err(|error| Error::invalid("configuration", error.to_string()))?;
        Ok(Bundle { path: dir.to_owned(), spec, text })
    }

    /// The configuration as it is written down.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// What is odd in the configuration but harmless, for the log; nothing when the configuration is
    /// wrong, which has its own words.
    pub fn warnings(&self) -> Vec<String> {
        crate::plan::Plan::new(&self.spec).map(|plan| plan.warnings).unwrap_or_default()
    }

    pub(crate) fn program(&self) -> &str {
        let process = self.spec.process.as_ref();
        process.and_then(|process| process.args.first()).map_or("", String::as_str)
    }
}

/// Reads a file, and no more than one byte beyond the bound; with few calls when its size is known.
pub(crate) fn read(file: std::fs::File, bound: usize) -> std::io::Result<Vec<u8>> {
    let size = file.metadata().map_or(0, |data| data.len());
    let mut text = Vec::with_capacity(bound.min(size as usize) + 1);
    file.take(bound as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}
