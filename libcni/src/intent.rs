//! What is written down before the first plugin of an ADD runs, so that an ADD whose caller was
//! killed can be undone.
//!
//! Intents lie in the run directory, in memory: the kernel objects of an unfinished ADD end with
//! the boot as they do, so nothing needs to be synced to disk.

use crate::atomic::{Durable, Folder};
use crate::cache::Key;
use crate::record::Record;
use crate::tree::{self, Process};
use crate::{Error, Kind, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a killed plugin may take to end; only a call that the kernel does not interrupt
/// takes any time.
const END_WAIT: Duration = Duration::from_secs(10);

/// The intents of one cache directory.
#[derive(Clone, Debug)]
pub(crate) struct Intents {
    folder: Folder,
}

/// An ADD that was begun and not brought to an end.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) record: Record,
    plugins: Vec<Process>,
}

/// The journal of an ADD under way: takes note of every plugin that is started.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    file: Arc<File>,
}

impl Journal {
    pub(crate) fn started(&self, pid: u32) {
        let Some(process) = Process::find(pid) else { return };
        let line = format!("{} {}\n", process.pid, process.start);
        // One short write to memory. Without the line, only the wait for a plugin that outlives
        // a killed caller is lost.
        let _missed = (&*self.file).write_all(line.as_bytes());
    }
}

/// The parts are joined by a byte that only the last one may hold.
fn file_name(key: &Key) -> String {
    format!("{}@{}@{}", key.network, key.container_id, key.ifname)
}

impl Intents {
    pub(crate) fn new(dir: &Path) -> Intents {
        Intents { folder: Folder::new(dir.join("intents"), dir.join("tmp")) }
    }

    fn fault(path: &Path, e: &std::io::Error) -> Error {
        Error::io(Kind::State, path.display(), e)
    }

    /// Writes down that `record` is about to be added.
    pub(crate) fn begin(&self, record: &Record) -> Result<Journal> {
        let name = file_name(&Key::of(record));
        let path = self.folder.file(&name);
        let text = format!("{}\n", record.to_text());
        self.folder
            .write(&name, text.as_bytes(), Durable::No)
            .map_err(|e| Intents::fault(&path, &e))?;
        let file = OpenOptions::new().append(true).open(&path);
        Ok(Journal { file: Arc::new(file.map_err(|e| Intents::fault(&path, &e))?) })
    }

    /// The intent of `key`, if its ADD never came to an end.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Intent>> {
        let name = file_name(key);
        let path = self.folder.file(&name);
        let bytes = self.folder.read(&name).map_err(|e| Intents::fault(&path, &e))?;
        bytes.map(|bytes| Intent::read(&path, &bytes)).transpose()
    }

    /// Forgets the intent of `key`, which need not exist.
    pub(crate) fn end(&self, key: &Key) -> Result<()> {
        let name = file_name(key);
        let removed = self.folder.remove(&name);
        removed.map_err(|e| Intents::fault(&self.folder.file(&name), &e))
    }

    /// All intents. One that cannot be read is an error beside the others.
    pub(crate) fn all(&self) -> Result<(Vec<Intent>, Vec<Error>)> {
        let names = self.folder.names().map_err(|e| Intents::fault(self.folder.dir(), &e))?;
        let (mut intents, mut errors) = (Vec::new(), Vec::new());
        for name in names {
            let path: PathBuf = self.folder.file(&name);
            match self.folder.read(&name).map_err(|e| Intents::fault(&path, &e)) {
                Ok(None) => {}
                Ok(Some(bytes)) => match Intent::read(&path, &bytes) {
                    Ok(intent) => intents.push(intent),
                    Err(e) => errors.push(e),
                },
                Err(e) => errors.push(e),
            }
        }
        Ok((intents, errors))
    }

    /// Removes what killed writers left.
    pub(crate) fn clean(&self) -> Result<()> {
        self.folder.clean().map_err(|e| Intents::fault(self.folder.dir(), &e))
    }
}

impl Intent {
    fn read(path: &Path, bytes: &[u8]) -> Result<Intent> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let doc = serde_json::from_str(lines.next().unwrap_or_default());
        let record = doc.map_err(|e| e.to_string()).and_then(|doc| Record::from_value(&doc));
        let record = record.map_err(|fault| {
            let cause = cni_types::Error::new(
                cni_types::Code::Decode,
                format!("{}: is not the intent of an ADD: {fault}", path.display()),
            );
            Error::new(
                Kind::State,
                cause.with_details("remove the file once the container is gone"),
            )
        })?;
        let process = |line: &str| {
            let (pid, start) = line.split_once(' ')?;
            Some(Process { pid: pid.parse().ok()?, start: start.parse().ok()? })
        };
        Ok(Intent { record, plugins: lines.filter_map(process).collect() })
    }

    /// Kills the plugins that outlived the caller of this ADD, and returns when they have ended:
    /// nobody reads their answer, and a DEL beside them would race with them.
    ///
    /// Blocks. Only for who holds the container's lock.
    pub(crate) fn stop_plugins(&self) {
        let alive: Vec<_> = self.plugins.iter().filter(|p| p.is_alive()).collect();
        for process in &alive {
            tree::kill(process.pid);
        }
        // The end of a process that is no child of ours is no event that could be waited for.
        let deadline = Instant::now() + END_WAIT;
        let mut pause = Duration::from_micros(200);
        while alive.iter().any(|p| p.is_alive()) && Instant::now() < deadline {
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}
