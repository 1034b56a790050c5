//! The words of mount(8) as numbers: config.md, "Linux mount options".

use crate::Error;
use std::ffi::CString;

/// Mount attributes of mount_setattr(2).
pub(crate) mod attr {
    pub(crate) const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
    pub(crate) const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
    pub(crate) const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
    pub(crate) const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
    pub(crate) const ATIME: u64 = libc::MOUNT_ATTR__ATIME;
    pub(crate) const RELATIME: u64 = libc::MOUNT_ATTR_RELATIME;
    pub(crate) const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
    pub(crate) const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
    pub(crate) const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
    pub(crate) const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
    pub(crate) const IDMAP: u64 = libc::MOUNT_ATTR_IDMAP;
}

/// The longest text of options the kernel takes: a page, with its final zero.
const DATA_MAX: usize = 4095;

/// The longest value that fsconfig(2) takes.
const VALUE_MAX: usize = 255;

/// One call of mount_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Includes the mounts below.
    pub(crate) recursive: bool,
    /// Attributes to set.
    pub(crate) set: u64,
    /// Attributes to clear, before those are set.
    pub(crate) clear: u64,
    /// `MS_SHARED` and its like, or zero.
    pub(crate) propagation: u64,
}

impl Change {
    fn is_empty(&self) -> bool {
        self.set | self.clear | self.propagation == 0
    }

    /// Setting wins over an earlier clearing, and the other way round; access times are one value.
    fn add(&mut self, set: u64, clear: u64) {
        self.set = (self.set & !clear) | set;
        self.clear = (self.clear & !set) | clear;
    }
}

/// An option of the file system itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Param {
    /// Name.
    pub(crate) key: CString,
    /// Value; a flag has none.
    pub(crate) value: Option<CString>,
}

/// The options of one mount, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Binds a directory or file.
    pub(crate) bind: bool,
    /// The bind includes mounts below the source.
    pub(crate) recursive: bool,
    /// Changes what is mounted there already.
    pub(crate) remount: bool,
    /// A tmpfs starts with a copy of the directory it covers.
    pub(crate) copy_up: bool,
    /// Idmapped; true when recursively so.
    pub(crate) idmap: Option<bool>,
    /// Attributes of this mount alone.
    pub(crate) own: Change,
    /// Attributes of it and all below.
    pub(crate) all: Change,
    /// Kinds of propagation in the order given, with their recursion.
    pub(crate) propagation: Vec<(u64, bool)>,
    /// Options of the file system, those of the VFS such as `sync` included.
    pub(crate) params: Vec<Param>,
    /// The same as one text, for mount(2).
    pub(crate) data: CString,
    /// Flags of mount(2) for what `params` says about the VFS.
    pub(crate) vfs: libc::c_ulong,
    /// A value is too long for fsconfig(2), or is quoted: mount(2) must be used.
    pub(crate) old_api: bool,
}

/// `(word, attributes to set, attributes to clear)`; with an `r` in front they are recursive.
const ATTRIBUTES: &[(&str, u64, u64)] = &[
    ("ro", attr::RDONLY, 0),
    ("rw", 0, attr::RDONLY),
    ("nosuid", attr::NOSUID, 0),
    ("suid", 0, attr::NOSUID),
    ("nodev", attr::NODEV, 0),
    ("dev", 0, attr::NODEV),
    ("noexec", attr::NOEXEC, 0),
    ("exec", 0, attr::NOEXEC),
    ("noatime", attr::NOATIME, attr::ATIME),
    ("atime", attr::RELATIME, attr::ATIME),
    ("relatime", attr::RELATIME, attr::ATIME),
    ("norelatime", attr::RELATIME, attr::ATIME),
    ("strictatime", attr::STRICTATIME, attr::ATIME),
    ("nostrictatime", attr::RELATIME, attr::ATIME),
    ("nodiratime", attr::NODIRATIME, 0),
    ("diratime", 0, attr::NODIRATIME),
    ("nosymfollow", attr::NOSYMFOLLOW, 0),
    ("symfollow", 0, attr::NOSYMFOLLOW),
];

/// Words of the VFS that belong to the file system, not to the mount.
const VFS: &[(&str, libc::c_ulong)] = &[
    ("sync", libc::MS_SYNCHRONOUS),
    ("dirsync", libc::MS_DIRSYNC),
    ("mand", libc::MS_MANDLOCK),
    ("lazytime", libc::MS_LAZYTIME),
    ("async", 0),
    ("nomand", 0),
    ("nolazytime", 0),
];

/// Words that have no effect at all.
const IDLE: &[&str] = &["defaults", "loud", "silent", "noiversion", ""];

/// The kind of propagation that a word names, and whether it is recursive.
pub(crate) fn propagation(word: &str) -> Option<(u64, bool)> {
    let kind = |word: &str| match word {
        "private" => Some(libc::MS_PRIVATE),
        "slave" => Some(libc::MS_SLAVE),
        "shared" => Some(libc::MS_SHARED),
        "unbindable" => Some(libc::MS_UNBINDABLE),
        _ => None,
    };
    let recursive = || word.strip_prefix('r').and_then(kind).map(|kind| (kind, true));
    kind(word).map(|kind| (kind, false)).or_else(recursive)
}

impl Options {
    /// Understands the words of one mount.
    ///
    /// # Errors
    /// A word has a zero byte, or all together are longer than the kernel takes.
    pub(crate) fn parse(words: &[String], subject: &str) -> Result<Options, Error> {
        let mut options = Options::default();
        let mut data = String::new();
        for word in words {
            if word.contains('\0') {
                return Err(Error::invalid(subject, "an option has a zero byte"));
            }
            options.word(word, &mut data);
        }
        if data.len() > DATA_MAX {
            let cause = format!("options of {} bytes; the kernel takes {DATA_MAX}", data.len());
            return Err(Error::invalid(subject, cause));
        }
        options.old_api |= data.contains('"');
        options.data = CString::new(data).unwrap_or_default();
        Ok(options)
    }

    fn word(&mut self, word: &str, data: &mut String) {
        let find = |word: &str| ATTRIBUTES.iter().find(|(name, ..)| *name == word);
        if let Some(&(_, set, clear)) = find(word) {
            self.own.add(set, clear);
        } else if let Some(&(_, set, clear)) = word.strip_prefix('r').and_then(find) {
            self.all.add(set, clear);
        } else if let Some(kind) = propagation(word) {
            self.propagation.push(kind);
        } else if let Some(&(name, flag)) = VFS.iter().find(|(name, _)| *name == word) {
            self.vfs |= flag;
            self.param(name);
        } else if !self.shape(word) && !IDLE.contains(&word) {
            word.split(',').filter(|part| !part.is_empty()).for_each(|part| self.param(part));
            if !data.is_empty() {
                data.push(',');
            }
            data.push_str(word);
        }
    }

    fn shape(&mut self, word: &str) -> bool {
        match word {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            _ => return false,
        }
        true
    }

    /// Adds an option of the file system.
    pub(crate) fn param(&mut self, text: &str) {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        self.old_api |= key.len() > VALUE_MAX || value.is_some_and(|v| v.len() > VALUE_MAX);
        let text = |text: &str| CString::new(text).unwrap_or_default();
        self.params.push(Param { key: text(key), value: value.map(text) });
    }

    /// The value of an option of the file system.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        let param = self.params.iter().find(|param| param.key.as_bytes() == key.as_bytes())?;
        param.value.as_ref().and_then(|value| value.to_str().ok())
    }

    /// The calls of mount_setattr(2) that a bind needs, as few as possible.
    pub(crate) fn bind_changes(&self) -> Vec<Change> {
        let mut changes = vec![self.own];
        changes.extend(self.other_changes());
        merge(changes)
    }

    /// The calls that a new file system needs, whose own attributes fsmount(2) sets.
    pub(crate) fn other_changes(&self) -> Vec<Change> {
        let mut changes = vec![Change { recursive: true, ..self.all }];
        changes.extend(self.propagation.iter().map(|&(propagation, recursive)| Change {
            recursive,
            propagation,
            ..Change::default()
        }));
        merge(changes)
    }
}

/// Joins neighbours that one call can do; leaves out those that do nothing.
fn merge(changes: Vec<Change>) -> Vec<Change> {
    let mut merged: Vec<Change> = Vec::new();
    for change in changes.into_iter().filter(|change| !change.is_empty()) {
        match merged.last_mut() {
            Some(last) if last.recursive == change.recursive && last.propagation == 0 => {
                last.add(change.set, change.clear);
                last.propagation = change.propagation;
            }
            _ => merged.push(change),
        }
    }
    merged
}
