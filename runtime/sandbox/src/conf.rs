//! The networks that the configuration directory describes now.
//!
//! The directory is looked at whenever a network is needed, which costs less than a plugin's start:
//! files that come, change or go are seen at once, also when the directory itself was removed and
//! made again. Only what has changed is parsed.

use crate::settings::Networks;
use crate::{Error, Kind, Result};
use libcni::NetworkList;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// What a file's times cannot tell apart: two changes within one tick of the kernel's clock.
const TICK: Duration = Duration::from_millis(50);

/// What is known of each file: path, inode, size, times.
type Print = Vec<(PathBuf, u64, u64, i128, i128)>;

/// The configuration directory.
#[derive(Debug)]
pub(crate) struct Conf {
    dir: PathBuf,
    default: Option<String>,
    known: Mutex<Option<(Print, Arc<Loaded>)>>,
}

/// What is in it.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Usable lists, by file name.
    pub(crate) lists: Vec<Arc<NetworkList>>,
    broken: Vec<libcni::Error>,
}

fn nanoseconds(seconds: i64, part: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(part)
}

fn print_of(path: PathBuf, meta: &Metadata) -> (PathBuf, u64, u64, i128, i128) {
    let modified = nanoseconds(meta.mtime(), meta.mtime_nsec());
    let changed = nanoseconds(meta.ctime(), meta.ctime_nsec());
    (path, meta.ino(), meta.len(), modified, changed)
}

/// The files of `dir`, and of directories in it: a list may have its plugins there.
fn print(dir: &Path, depth: u32, into: &mut Print) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(meta) = fs::metadata(&path) else { continue };
        if meta.is_dir() && depth > 0 {
            print(&path, depth - 1, into);
        } else if meta.is_file() {
            into.push(print_of(path, &meta));
        }
    }
}

/// Whether every change so far can be told from the next one.
fn is_settled(print: &Print) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
    print.iter().all(|(.., changed)| now - changed > TICK.as_nanos().cast_signed())
}

impl Conf {
    pub(crate) fn new(networks: &Networks) -> Conf {
        let (dir, default) = (networks.conf_dir.clone(), networks.default.clone());
        Conf { dir, default, known: Mutex::new(None) }
    }

    /// What the directory says now. Blocks for some file reads at most.
    ///
    /// # Errors
    /// When the directory cannot be listed; one that is not there is empty.
    pub(crate) fn load(&self) -> Result<Arc<Loaded>> {
        let mut now = Print::new();
        print(&self.dir, 1, &mut now);
        now.sort();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((print, loaded)) = known.as_ref()
            && *print == now
        {
            return Ok(loaded.clone());
        }
        let mut files = libcni::load_dir(&self.dir)
            .map_err(|e| Error::new(Kind::Unavailable, self.dir.display(), e))?;
        files.sort_by(|a, b| a.path.file_name().cmp(&b.path.file_name()));
        let mut loaded = Loaded::default();
        for file in files {
            match file.network {
                Ok(list) => loaded.lists.push(Arc::new(list)),
                Err(e) => {
                    tracing::warn!(file = %file.path.display(), error = %e, "network left out");
                    loaded.broken.push(e);
                }
            }
        }
        let loaded = Arc::new(loaded);
        *known = is_settled(&now).then(|| (now, loaded.clone()));
        Ok(loaded)
    }

    /// The network of `eth0`.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when there is none that can be used.
    pub(crate) fn default_network(&self) -> Result<Arc<NetworkList>> {
        let loaded = self.load()?;
        match &self.default {
            Some(name) => self.pick(&loaded, name),
            None => loaded.lists.first().cloned().ok_or_else(|| {
                let subject = self.dir.display();
                let cause = match loaded.broken.first() {
                    None => "no network is configured there".to_owned(),
                    Some(e) => format!("no network there can be used: {e}"),
                };
                Error::new(Kind::Unavailable, subject, cause)
                    .with_advice("the network's installer puts a .conflist file there")
            }),
        }
    }

    /// The network of this name.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when there is none.
    pub(crate) fn network(&self, name: &str) -> Result<Arc<NetworkList>> {
        self.pick(&*self.load()?, name)
    }

    fn pick(&self, loaded: &Loaded, name: &str) -> Result<Arc<NetworkList>> {
        let found = loaded.lists.iter().find(|list| list.name.as_str() == name);
        found.cloned().ok_or_else(|| {
            let subject = format!("network {name:?}");
            let fault = loaded.broken.iter().find(|e| e.network_name() == name);
            let cause = match fault {
                None => format!("is not configured in {}", self.dir.display()),
                Some(e) => format!("cannot be used: {e}"),
            };
            Error::new(Kind::Unavailable, subject, cause)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str) -> String {
        format!(r#"{{"cniVersion":"1.1.0","name":"{name}","plugins":[{{"type":"bridge"}}]}}"#)
    }

    fn first(conf: &Conf) -> Option<String> {
        conf.default_network().ok().map(|list| list.name.to_string())
    }

    #[test]
    fn every_change_of_the_directory_is_seen_at_once() {
        let dir = std::env::temp_dir().join(format!("podloom-conf-{}", std::process::id()));
        let networks = Networks { conf_dir: dir.clone(), ..Networks::default() };
        let conf = Conf::new(&networks);
        assert_eq!(first(&conf), None, "no directory");
        for round in 0..50 {
            fs::create_dir_all(&dir).expect("make");
            assert_eq!(first(&conf), None, "an empty directory");
            fs::write(dir.join("20-b.conflist"), list("b")).expect("write");
            assert_eq!(first(&conf), Some("b".to_owned()), "round {round}");
            fs::write(dir.join("20-b.conflist"), list("c")).expect("write");
            assert_eq!(first(&conf), Some("c".to_owned()), "round {round}: same size and inode");
            fs::write(dir.join("10-a.conf"), r#"{"name":"a","type":"ptp"}"#).expect("write");
            assert_eq!(first(&conf), Some("a".to_owned()), "any extension, by name");
            fs::write(dir.join("05-bad.conflist"), "{").expect("write");
            assert_eq!(first(&conf), Some("a".to_owned()), "a broken file is passed over");
            fs::remove_dir_all(&dir).expect("remove");
            assert_eq!(first(&conf), None, "removed");
        }
    }

    #[test]
    fn what_has_not_changed_is_not_read_again() {
        let dir = std::env::temp_dir().join(format!("podloom-conf-kept-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("make");
        fs::write(dir.join("a.conflist"), list("a")).expect("write");
        std::thread::sleep(2 * TICK);
        let conf = Conf::new(&Networks { conf_dir: dir.clone(), ..Networks::default() });
        let (a, b) = (conf.load().expect("load"), conf.load().expect("load"));
        assert!(Arc::ptr_eq(&a, &b));
        fs::remove_dir_all(&dir).expect("remove");
    }
}
