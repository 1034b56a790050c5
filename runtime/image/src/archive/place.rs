//! Files of an archive: in a directory, or within a tar file.

use crate::{Error, Kind, Result};
use layer::Compression;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Entries of one archive, at most.
const MAX_ENTRIES: usize = 200_000;
/// Links within an archive that are followed one after the other.
const MAX_LINKS: usize = 8;

/// Where the files are.
#[derive(Debug)]
pub(crate) enum Place {
    /// In a directory.
    Dir(PathBuf),
    /// In a tar file that is not compressed.
    Tar {
        /// The file.
        file: Arc<File>,
        /// By path.
        entries: HashMap<String, Entry>,
        /// What it is called.
        name: PathBuf,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// Offset and size of its content.
    File(u64, u64),
    /// A link to another entry.
    Link(String),
}

/// A part of a file, read from its beginning.
#[derive(Debug)]
pub(crate) struct Section {
    file: Arc<File>,
    at: u64,
    left: u64,
    /// Size in bytes.
    pub(crate) size: u64,
}

impl Section {
    fn new(file: Arc<File>, at: u64, size: u64) -> Section {
        Section { file, at, left: size, size }
    }
}

impl Read for Section {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let want = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut into[..want], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

impl Place {
    pub(crate) fn open(path: &Path, scratch: &Path) -> Result<Place> {
        if path.is_dir() {
            return Ok(Place::Dir(path.to_owned()));
        }
        let fault = |doing: &'static str| move |e: io::Error| Error::io(doing, path, &e);
        let file = if path == Path::new("-") {
            copy(&mut io::stdin().lock(), scratch)?
        } else {
            File::open(path).map_err(fault("open"))?
        };
        let mut head = [0; 6];
        let count = file.read_at(&mut head, 0).map_err(fault("read"))?;
        let mut file = file;
        let file = match Compression::of_magic(&head[..count]) {
            Compression::None => file,
            Compression::Gzip => copy(&mut flate2::read::MultiGzDecoder::new(&mut file), scratch)?,
            Compression::Zstd => {
                let decoder = zstd::Decoder::new(&mut file);
                copy(&mut decoder.map_err(fault("decompress"))?, scratch)?
            }
        };
        let entries = entries(&file, path)?;
        Ok(Place::Tar { file: Arc::new(file), entries, name: path.to_owned() })
    }

    /// Whether there is a file of that path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.section(path).is_ok()
    }

    /// The file at a path.
    pub(crate) fn section(&self, path: &str) -> Result<Section> {
        match self {
            Place::Dir(dir) => {
                let full = dir.join(clean(Path::new(path)).unwrap_or_default());
                let opened = File::open(&full).and_then(|file| Ok((file.metadata()?, file)));
                let (meta, file) = opened.map_err(|e| match e.kind() {
                    io::ErrorKind::NotFound => missing(dir, path),
                    _ => Error::io("open", &full, &e),
                })?;
                if !meta.is_file() {
                    return Err(missing(dir, path));
                }
                Ok(Section::new(Arc::new(file), 0, meta.len()))
            }
            Place::Tar { file, entries, name } => {
                let mut path = path.to_owned();
                for _ in 0..MAX_LINKS {
                    match entries.get(&path) {
                        Some(Entry::File(at, size)) => {
                            return Ok(Section::new(Arc::clone(file), *at, *size));
                        }
                        Some(Entry::Link(next)) => path.clone_from(next),
                        None => break,
                    }
                }
                Err(missing(name, &path))
            }
        }
    }
}

fn missing(archive: &Path, path: &str) -> Error {
    let path: String = path.chars().take(300).collect();
    Error::new(Kind::NotFound, archive.display().to_string(), format!("has no file {path:?}"))
}

/// What `from` yields, in a file without a name below `scratch`.
fn copy(from: &mut dyn Read, scratch: &Path) -> Result<File> {
    let flags =
        rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let opened = rustix::fs::open(scratch, flags, rustix::fs::Mode::from_raw_mode(0o600));
    let opened = opened.map_err(|e| Error::io("make a temporary file", scratch, &e.into()))?;
    let mut file = File::from(opened);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                return Err(Error::new(Kind::Invalid, "archive", format!("cannot read: {e}")));
            }
        };
        let wrote = file.write_all(&buffer[..count]);
        wrote.map_err(|e| Error::io("write a temporary file", scratch, &e))?;
    }
    file.rewind().map_err(|e| Error::io("rewind", scratch, &e))?;
    Ok(file)
}

/// Where each file of a tar archive is. Its names are keys only, and no file is ever made of them.
fn entries(file: &File, path: &Path) -> Result<HashMap<String, Entry>> {
    let wrong = |e: io::Error| {
        Error::new(Kind::Invalid, path.display().to_string(), format!("is no tar archive: {e}"))
    };
    let length = file.metadata().map_err(wrong)?.len();
    let mut reader = file;
    reader.seek(SeekFrom::Start(0)).map_err(wrong)?;
    let mut archive = tar::Archive::new(file);
    let mut found = HashMap::new();
    for entry in archive.entries_with_seek().map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        if found.len() >= MAX_ENTRIES {
            let text = format!("has more than {MAX_ENTRIES} entries");
            return Err(Error::new(Kind::Refused, path.display().to_string(), text));
        }
        let name = entry.path().map_err(wrong)?;
        let Some(name) = clean(&name) else { continue };
        let kind = entry.header().entry_type();
        if kind.is_file() {
            let (at, size) = (entry.raw_file_position(), entry.size());
            if at.checked_add(size).is_none_or(|end| end > length) {
                return Err(wrong(io::ErrorKind::UnexpectedEof.into()));
            }
            found.insert(name, Entry::File(at, size));
        } else if (kind.is_symlink() || kind.is_hard_link())
            && let Some(target) = entry.link_name().map_err(wrong)?
        {
            // A symbolic link is relative to its directory, a hard link to the archive.
            let base = if kind.is_symlink() { Path::new(&name).parent() } else { None };
            if let Some(target) = clean(&base.unwrap_or(Path::new("")).join(target)) {
                found.insert(name, Entry::Link(target));
            }
        }
    }
    Ok(found)
}

/// A path as a key: without `.` and `..`; none if it leaves the archive or is not UTF-8.
fn clean(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_keys_that_stay_inside() {
        let key = |path: &str| clean(Path::new(path));
        assert_eq!(key("./a//b/../c").as_deref(), Some("a/c"));
        for path in ["", ".", "..", "../a", "a/../../b", "/etc/passwd"] {
            assert_eq!(key(path), None, "{path}");
        }
    }
}
