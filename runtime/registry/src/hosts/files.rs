//! The files beside `hosts.toml`: certificates, keys, passwords.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Tls;
use crate::error::{Error, Kind, Result};

/// No certificate, key or password file is larger, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads a small file of the operator's.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let fail = |e: std::io::Error| {
        Error::new(Kind::Config, path.display().to_string(), "cannot read").because(&e)
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE {
        let message = format!("larger than {MAX_FILE} bytes");
        return Err(Error::new(Kind::Config, path.display().to_string(), message));
    }
    Ok(bytes)
}

/// Refuses a file with a secret in it that everyone on the machine can read.
pub(super) fn check_private(path: &Path) -> Result<()> {
    let subject = || path.display().to_string();
    let meta = std::fs::metadata(path)
        .map_err(|e| Error::new(Kind::Config, subject(), "cannot read").because(&e))?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o007 == 0 {
        return Ok(());
    }
    let message = format!("holds a secret and has mode {mode:04o}, open to every user");
    Err(Error::new(Kind::Config, subject(), message).advise("chmod 0600"))
}

/// Reads a password file: one line, its end left out.
pub(super) fn read_secret(path: &Path) -> Result<String> {
    check_private(path)?;
    let subject = || path.display().to_string();
    let text = String::from_utf8(read(path)?)
        .map_err(|_| Error::new(Kind::Config, subject(), "is not UTF-8"))?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains('\n') {
        return Err(Error::new(Kind::Config, subject(), "want one line with the secret"));
    }
    Ok(line.to_owned())
}

/// Docker's layout: every `*.crt` an authority, the first `*.cert` with its `*.key` the client's certificate.
pub(super) fn docker_style(folder: &Path) -> Result<Tls> {
    let subject = || folder.display().to_string();
    let fail = |e: std::io::Error| Error::new(Kind::Config, subject(), "cannot list").because(&e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        paths.push(entry.map_err(fail)?.path());
    }
    paths.sort();
    let ending = |path: &PathBuf, want: &str| path.extension().is_some_and(|e| e == want);
    let mut tls = Tls::default();
    for path in paths.iter().filter(|path| ending(path, "crt")) {
        tls.ca.push(read(path)?);
    }
    if let Some(cert) = paths.iter().find(|path| ending(path, "cert")) {
        let key = cert.with_extension("key");
        if !key.exists() {
            let message = format!("has no {} beside it", key.display());
            return Err(Error::new(Kind::Config, cert.display().to_string(), message));
        }
        tls.identity = Some(pair(cert, Some(&key))?);
    }
    Ok(tls)
}

/// Certificate and key in one PEM text.
pub(super) fn pair(cert: &Path, key: Option<&Path>) -> Result<Vec<u8>> {
    let mut pem = read(cert)?;
    if let Some(key) = key {
        pem.push(b'\n');
        pem.extend(read(key)?);
    }
    Ok(pem)
}
