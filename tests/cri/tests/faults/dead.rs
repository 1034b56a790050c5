//! A file system whose server answers, and then does not any more.

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, Request,
};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, UNIX_EPOCH};

const FILE: INodeNo = INodeNo(2);
const TEXT: &[u8] = b"alive\n";

/// A directory with a file; goes with this.
pub(crate) struct Dead {
    server: Server,
    session: Option<BackgroundSession>,
}

impl Dead {
    /// Mounts it; none, said as a skip, where there is no FUSE.
    pub(crate) fn mount(at: &Path) -> Option<Dead> {
        if !Path::new("/dev/fuse").exists() {
            lab::skip("this machine has no FUSE");
            return None;
        }
        let server = Server::default();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("podloom-dead".to_owned())];
        let session = fuser::spawn_mount(server.clone(), at, &config).expect("mount with FUSE");
        Some(Dead { server, session: Some(session) })
    }

    /// From now on nothing is answered. Returns when somebody has asked: who is first waits for what
    /// the server has taken, and cannot be killed; who comes later can.
    pub(crate) fn die(&self) {
        *self.server.0.0.lock().expect("no holder panics") = true;
        let is_asked = || self.server.0.2.load(Ordering::Acquire);
        lab::until("the dead mount is asked", Duration::from_secs(10), is_asked);
    }

    /// All is answered again, also what was asked meanwhile.
    pub(crate) fn revive(&self) {
        *self.server.0.0.lock().expect("no holder panics") = false;
        self.server.0.1.notify_all();
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        // Who still waits for an answer gets one, so that the thread ends.
        self.revive();
        let Some(session) = self.session.take() else { return };
        if std::thread::panicking() {
            // Containers may have it mounted still: it goes with them.
            return std::mem::forget(session);
        }
        session.umount_and_join().expect("unmount");
    }
}

/// The server, and whether it is dead.
#[derive(Clone, Default)]
struct Server(Arc<(Mutex<bool>, Condvar, AtomicBool)>);

impl Server {
    /// Returns when it lives.
    fn live(&self) {
        let (dead, revived, is_asked) = &*self.0;
        let dead = dead.lock().expect("no holder panics");
        is_asked.store(*dead, Ordering::Release);
        drop(revived.wait_while(dead, |dead| *dead).expect("no holder panics"));
    }
}

fn attributes(ino: INodeNo) -> FileAttr {
    let is_file = ino == FILE;
    FileAttr {
        ino,
        size: if is_file { TEXT.len() as u64 } else { 0 },
        blocks: 1,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_file { FileType::RegularFile } else { FileType::Directory },
        perm: if is_file { 0o644 } else { 0o755 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 4096,
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.live();
        match name == "file" {
            true => reply.entry(&Duration::ZERO, &attributes(FILE), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.live();
        reply.attr(&Duration::ZERO, &attributes(ino));
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
        // Always answered: who waits for what is read ahead can be killed.
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(TEXT.len());
        let end = (start + size as usize).min(TEXT.len());
        reply.data(&TEXT[start..end]);
    }
}
