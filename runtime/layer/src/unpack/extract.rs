//! Entries become files.

use super::dirs::{DirMeta, Dirs, timestamps};
use super::target::Target;
use super::whiteout::{self, Meaning};
use super::{Devices, Options, Report, Whiteouts, file};
use crate::error::{Error, Kind, shown};
use crate::path::RelativePath;
use crate::remove::remove_tree;
use crate::tar::{Archive, Entry, EntryKind};
use crate::usage::Usage;
use crate::xattr::{in_directory, is_overlay};
use content_digest::Digest;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, XattrFlags, chmodat, chownat, fstatfs, linkat, lsetxattr,
    makedev, mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, getegid, geteuid};
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// The state of one unpacking.
pub(crate) struct Extractor<'a> {
    target: Target<'a>,
    options: &'a Options,
    dirs: Dirs,
    report: Report,
    /// Apparent size of all sparse files, which the stream's own limit does not see.
    sparse_bytes: u64,
    block: u64,
    /// Ids that new files get by themselves.
    own: (u32, u32),
}

fn io_error(path: &RelativePath, doing: &str, e: Errno) -> Error {
    Error::io(shown(path.as_bytes()), doing, e)
}

impl<'a> Extractor<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>, options: &'a Options) -> Result<Extractor<'a>, Error> {
        let failed = |e| Error::io(".", "look at the target", e);
        let block = fstatfs(root).map_err(failed)?.f_bsize;
        let report = Report {
            diff_id: Digest::sha256(b""),
            tar_bytes: 0,
            compressed_bytes: 0,
            usage: Usage::default(),
            entries: 0,
            opaque_root: false,
            root_described: false,
            implied: Vec::new(),
            skipped_devices: 0,
            skipped_xattrs: 0,
        };
        Ok(Extractor {
            target: Target::new(root),
            options,
            dirs: Dirs::new(options.limits.directory_bytes),
            report,
            sparse_bytes: 0,
            block: u64::try_from(block).unwrap_or(4096).max(512),
            own: (geteuid().as_raw(), getegid().as_raw()),
        })
    }

    /// Unpacks all entries.
    pub(crate) fn run<R: Read>(&mut self, archive: &mut Archive<R>) -> Result<(), Error> {
        while let Some(mut entry) = archive.next()? {
            self.report.entries += 1;
            let path = RelativePath::parse(&entry.name, self.options.limits.depth)?;
            self.filter_xattrs(&mut entry);
            self.entry(&path, &entry, archive)?;
        }
        Ok(())
    }

    /// Sets what had to wait, and reports.
    pub(crate) fn finish(mut self) -> Result<Report, Error> {
        let skipped = &mut self.report.skipped_xattrs;
        let (blocks, implied) = self.dirs.apply(&self.target, skipped)?;
        self.report.usage.bytes += blocks;
        self.report.implied = implied;
        Ok(self.report)
    }

    fn filter_xattrs(&mut self, entry: &mut Entry) {
        let before = entry.xattrs.len();
        // Labels are the machine's that runs the container, not the one's that built the image.
        entry.xattrs.retain(|(name, _)| !is_overlay(name) && name != b"security.selinux");
        self.report.skipped_xattrs += (before - entry.xattrs.len()) as u64;
    }

    fn entry<R: Read>(
        &mut self,
        path: &RelativePath,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), Error> {
        if path.is_root() {
            return self.root(entry);
        }
        let (parent, name) = path.split();
        if whiteout::within_whiteout(parent) {
            if parent.split(|c| *c == b'/').any(|part| part.starts_with(b".wh..wh.")) {
                return Ok(());
            }
            let detail = "is beneath the whiteout of a directory";
            return Err(Error::new(Kind::Whiteout, shown(path.as_bytes()), detail));
        }
        let meaning = whiteout::meaning(path.as_bytes(), name)?;
        if meaning == Meaning::Ignored {
            return Ok(());
        }
        let dir = self.parent(parent)?;
        match meaning {
            Meaning::Gone(hidden) => {
                let own = whiteout::hide(dir.as_fd(), hidden, self.options, path.as_bytes())?;
                self.report.usage.inodes += u64::from(own);
                Ok(())
            }
            Meaning::Opaque => {
                self.report.opaque_root |= parent.is_empty();
                let own = whiteout::make_opaque(dir.as_fd(), self.options, path.as_bytes())?;
                self.report.usage.inodes += u64::from(own);
                Ok(())
            }
            _ => self.place(&dir, path, entry, archive),
        }
    }

    fn place<R: Read>(
        &mut self,
        dir: &Rc<OwnedFd>,
        path: &RelativePath,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), Error> {
        let dir = dir.as_fd();
        match &entry.kind {
            EntryKind::File => self.file(dir, path, entry, archive)?,
            EntryKind::Directory => return self.directory(dir, path, entry),
            EntryKind::Symlink(text) => self.symlink(dir, path, entry, text)?,
            EntryKind::HardLink(to) => return self.hard_link(dir, path, to),
            EntryKind::Character(0, 0) => {
                let detail = "a device 0/0 is an overlay's mark, not a device";
                return Err(Error::new(Kind::Unsupported, shown(path.as_bytes()), detail));
            }
            EntryKind::Character(major, minor) => {
                let device = (FileType::CharacterDevice, makedev(*major, *minor));
                self.node(dir, path, entry, device)?;
            }
            EntryKind::Block(major, minor) => {
                let device = (FileType::BlockDevice, makedev(*major, *minor));
                self.node(dir, path, entry, device)?;
            }
            EntryKind::Fifo => self.node(dir, path, entry, (FileType::Fifo, 0))?,
        }
        Ok(())
    }

    fn parent(&mut self, parent: &[u8]) -> Result<Rc<OwnedFd>, Error> {
        let (dirs, report) = (&mut self.dirs, &mut self.report);
        let owner = self.options.owner.of(0, 0).ok().flatten().filter(|o| *o != self.own);
        self.target.find_or_make(parent, &mut |dir, path| {
            report.usage.inodes += 1;
            let name = path.rsplit(|c| *c == b'/').next().unwrap_or(path);
            if let Some(owner) = owner {
                chown(dir, name, owner).map_err(|e| Error::io(shown(path), "set the owner", e))?;
            }
            dirs.set(path, None)
        })
    }

    fn owner(&self, path: &RelativePath, entry: &Entry) -> Result<Option<(u32, u32)>, Error> {
        let owner = self.options.owner.of(entry.uid, entry.gid).map_err(|id| {
            let detail = format!("id {id} has no place in the id map");
            Error::new(Kind::Unsupported, shown(path.as_bytes()), detail)
        })?;
        Ok(owner.filter(|owner| *owner != self.own))
    }

    fn meta(&self, path: &RelativePath, entry: &Entry) -> Result<DirMeta, Error> {
        Ok(DirMeta {
            mode: entry.mode,
            // Always, because the root and directories seen twice may be somebody else's.
            owner: self.options.owner.of(entry.uid, entry.gid).map_err(|id| {
                let detail = format!("id {id} has no place in the id map");
                Error::new(Kind::Unsupported, shown(path.as_bytes()), detail)
            })?,
            mtime: entry.mtime,
            xattrs: entry.xattrs.clone(),
        })
    }

    fn root(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != EntryKind::Directory {
            let detail = "the name is that of the root directory, but it is none";
            return Err(Error::new(Kind::Format, shown(&entry.name), detail));
        }
        self.report.root_described = true;
        let meta = self.meta(&RelativePath::default(), entry)?;
        self.dirs.set(b"", Some(meta))
    }

    fn directory(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &RelativePath,
        entry: &Entry,
    ) -> Result<(), Error> {
        let name = path.split().1;
        let made = mkdirat(dir, name, Mode::RWXU);
        if made == Err(Errno::EXIST) {
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| io_error(path, "stat", e))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                let was_whiteout = is_whiteout(&stat);
                self.replace(dir, path)?;
                mkdirat(dir, name, Mode::RWXU).map_err(|e| io_error(path, "make", e))?;
                self.report.usage.inodes += 1;
                if was_whiteout && self.options.whiteouts != Whiteouts::Files {
                    whiteout::hide(dir, name, self.options, path.as_bytes())?;
                }
            }
        } else {
            made.map_err(|e| io_error(path, "make the directory", e))?;
            self.report.usage.inodes += 1;
        }
        let meta = self.meta(path, entry)?;
        self.dirs.set(path.as_bytes(), Some(meta))
    }

    /// Makes something by `make`; what an earlier entry put there goes first.
    fn make<T>(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &RelativePath,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Error> {
        let mut made = make();
        if matches!(made, Err(Errno::EXIST)) {
            self.replace(dir, path)?;
            made = make();
        }
        let made = made.map_err(|e| io_error(path, "make", e))?;
        self.report.usage.inodes += 1;
        Ok(made)
    }

    fn replace(&mut self, dir: BorrowedFd<'_>, path: &RelativePath) -> Result<(), Error> {
        self.target.forget();
        let name = path.split().1;
        let stat =
            statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| io_error(path, "stat", e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let last = stat.st_nlink == 1;
            let blocks = u64::try_from(stat.st_size).unwrap_or(0).next_multiple_of(self.block);
            self.uncount(u64::from(last), if last { blocks } else { 0 });
        } else {
            let whole = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|e| io_error(path, "open", e))?;
            let gone = crate::usage::usage(whole.as_fd())?;
            self.uncount(gone.inodes, gone.bytes);
        }
        remove_tree(dir, name)
    }

    fn uncount(&mut self, inodes: u64, bytes: u64) {
        let usage = &mut self.report.usage;
        usage.inodes = usage.inodes.saturating_sub(inodes);
        usage.bytes = usage.bytes.saturating_sub(bytes);
    }

    fn file<R: Read>(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &RelativePath,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), Error> {
        if let Some(map) = &entry.sparse {
            self.sparse_bytes = self.sparse_bytes.saturating_add(map.size);
            if self.sparse_bytes > self.options.limits.bytes {
                let detail = format!("a file of {} bytes is more than a layer may have", map.size);
                return Err(Error::new(Kind::Limit, shown(path.as_bytes()), detail));
            }
        }
        let owner = self.owner(path, entry)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = path.split().1;
        let open = || openat(dir, name, flags, Mode::RUSR | Mode::WUSR);
        let file = self.make(dir, path, open)?;
        let written = file::write_data(file.as_fd(), entry, archive)?;
        self.report.usage.bytes += written.next_multiple_of(self.block);
        let skipped = file::describe(file.as_fd(), entry, owner, entry.mode == 0o600)?;
        self.report.skipped_xattrs += skipped;
        Ok(())
    }

    fn symlink(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &RelativePath,
        entry: &Entry,
        text: &[u8],
    ) -> Result<(), Error> {
        if text.is_empty() {
            return Err(Error::new(Kind::Format, shown(path.as_bytes()), "an empty link"));
        }
        let name = path.split().1;
        self.make(dir, path, || symlinkat(text, dir, name))?;
        self.describe_at(dir, path, entry)
    }

    fn node(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &RelativePath,
        entry: &Entry,
        (kind, device): (FileType, u64),
    ) -> Result<(), Error> {
        if kind != FileType::Fifo && self.options.devices == Devices::Skip {
            self.report.skipped_devices += 1;
            return Ok(());
        }
        let name = path.split().1;
        self.make(dir, path, || mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, device))?;
        self.describe_at(dir, path, entry)?;
        let mode = Mode::from_raw_mode(entry.mode);
        // The name was made just now and is no link.
        chmodat(dir, name, mode, AtFlags::empty()).map_err(|e| io_error(path, "set the mode", e))
    }

    /// Owner, attributes and time of what is better not opened.
    fn describe_at(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &RelativePath,
        entry: &Entry,
    ) -> Result<(), Error> {
        let name = path.split().1;
        if let Some(owner) = self.owner(path, entry)? {
            chown(dir, name, owner).map_err(|e| io_error(path, "set the owner", e))?;
        }
        for (attribute, value) in &entry.xattrs {
            let at = in_directory(dir, name);
            let at = OsStr::from_bytes(&at);
            let set = lsetxattr(at, attribute.as_slice(), value, XattrFlags::empty());
            self.report.skipped_xattrs += file::tolerate(set, attribute, &shown(path.as_bytes()))?;
        }
        utimensat(dir, name, &timestamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| io_error(path, "set the time", e))
    }

    fn hard_link(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &RelativePath,
        to: &[u8],
    ) -> Result<(), Error> {
        let to = RelativePath::parse(to, self.options.limits.depth)?;
        let lost = |what: &str| {
            let detail = format!("links to {}, {what}", shown(to.as_bytes()));
            Error::new(Kind::Format, shown(path.as_bytes()), detail)
        };
        if to == *path || to.is_root() {
            return Err(lost("which cannot be"));
        }
        let (parent, from) = to.split();
        let Some(from_dir) = self.target.find(parent)? else {
            return Err(lost("which is not in this layer"));
        };
        let stat = statat(&*from_dir, from, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| lost("which is not in this layer"))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory || is_whiteout(&stat) {
            return Err(lost("which is no file"));
        }
        let name = path.split().1;
        self.make(dir, path, || linkat(&*from_dir, from, dir, name, AtFlags::empty()))?;
        // A second name is no second file.
        self.uncount(1, 0);
        Ok(())
    }
}

fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn chown(dir: BorrowedFd<'_>, name: &[u8], (uid, gid): (u32, u32)) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}
