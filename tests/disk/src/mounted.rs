//! A disk's image, mounted.

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Puts the calling thread, and what it starts, into a mount namespace of its own: what is mounted
/// there goes when the test does, however it ends. Needs root.
#[allow(clippy::disallowed_methods, reason = "mounts, not networks; the thread ends with its test")]
pub fn alone() {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace; tests need root");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
}

/// A disk's image, mounted through a loop device that goes with the mount.
pub struct Mounted {
    path: PathBuf,
}

impl Mounted {
    /// Mounts a disk; panics when its file system is broken beyond its own repair.
    pub fn new(image: &Path) -> Mounted {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("podloom-disk-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("mount point");
        run(Command::new("mount").args(["-o", "loop,noatime"]).arg(image).arg(&path));
        Mounted { path }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(&self.path).status();
        assert!(done.is_ok_and(|s| s.success()), "{} stays mounted", self.path.display());
        let _ = std::fs::remove_dir(&self.path);
    }
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().expect("start a program");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}
