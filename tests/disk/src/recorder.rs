//! The file system with the one file that remembers.

use crate::mounted::run;
use crate::{Event, Journal};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyWrite, Request, WriteFlags,
};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

const TTL: Duration = Duration::from_secs(3600);
const DISK: INodeNo = INodeNo(2);

struct Medium {
    bytes: Vec<u8>,
    events: Vec<Event>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Medium>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().expect("no holder panics")
    }
}

/// A disk of a fixed size, as a file that remembers.
pub struct Recorder {
    dir: PathBuf,
    medium: Shared,
    session: Option<BackgroundSession>,
}

impl Recorder {
    /// An empty disk of `size` bytes.
    pub fn new(size: usize) -> Recorder {
        let dir = std::env::temp_dir().join(format!("podloom-recorder-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("mount point");
        let medium = Shared(Arc::new(Mutex::new(Medium { bytes: vec![0; size], events: vec![] })));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("podloom-recorder".to_owned())];
        let session = fuser::spawn_mount(medium.clone(), &dir, &config).expect("mount with FUSE");
        Recorder { dir, medium, session: Some(session) }
    }

    /// The disk's file.
    pub fn path(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// Puts an ext4 file system on it.
    pub fn format(&self) {
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "nodiscard"]).arg(self.path()));
    }

    /// Leaves a note in the journal.
    pub fn mark(&self, label: &str) {
        self.medium.lock().events.push(Event::Mark(label.to_owned()));
    }

    /// Ends recording. The disk must not be mounted any more.
    pub fn finish(mut self) -> Journal {
        self.unmount();
        let mut medium = self.medium.lock();
        Journal { size: medium.bytes.len(), events: std::mem::take(&mut medium.events) }
    }

    fn unmount(&mut self) {
        if let Some(session) = self.session.take() {
            session.umount_and_join().expect("unmount the recorder");
            let _ = std::fs::remove_dir(&self.dir);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn attributes(ino: INodeNo, size: usize) -> FileAttr {
    let is_disk = ino == DISK;
    FileAttr {
        ino,
        size: size as u64,
        blocks: size as u64 / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_disk { FileType::RegularFile } else { FileType::Directory },
        perm: if is_disk { 0o600 } else { 0o700 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 4096,
    }
}

impl Filesystem for Shared {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name != "disk" {
            return reply.error(Errno::ENOENT);
        }
        reply.entry(&TTL, &attributes(DISK, self.lock().bytes.len()), Generation(0));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(ino, self.lock().bytes.len()));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<fuser::TimeOrNow>,
        _: Option<fuser::TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // Times are set by the loop device; the size is fixed.
        reply.attr(&TTL, &attributes(ino, self.lock().bytes.len()));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let medium = self.lock();
        let start = usize::try_from(offset).unwrap().min(medium.bytes.len());
        let end = (start + size as usize).min(medium.bytes.len());
        reply.data(&medium.bytes[start..end]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut medium = self.lock();
        let start = usize::try_from(offset).unwrap();
        let Some(place) = medium.bytes.get_mut(start..start + data.len()) else {
            return reply.error(Errno::ENOSPC);
        };
        place.copy_from_slice(data);
        medium.events.push(Event::Write(offset, data.to_vec()));
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.lock().events.push(Event::Flush);
        reply.ok();
    }
}
