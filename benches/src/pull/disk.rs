//! A file system of its own for each run: one that was used before looks longer for free inodes,
//! and a sync of the machine's would write out what others left.

use crate::error::{About, Error, Result};
use nix::mount::{MntFlags, umount2};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room for two images of 300 MB, unpacked and packed. Only what is written takes space.
const BYTES: u64 = 8 << 30;

/// A fresh ext4 on a loop device, mounted in this process's mount namespace until it is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    file: PathBuf,
}

impl Disk {
    /// Makes the directory, and the disk's file beside it.
    pub(crate) fn make(dir: &Path) -> Result<Disk> {
        std::fs::create_dir(dir).about(dir.display())?;
        let disk = Disk { dir: dir.to_owned(), file: dir.with_extension("ext4") };
        let file = File::create(&disk.file).about(disk.file.display())?;
        file.set_len(BYTES).about(disk.file.display())?;
        drop(file);
        // Inode tables written now: the kernel would do it while the clock runs.
        let mut format = Command::new("mkfs.ext4");
        format.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(&disk.file);
        succeed(&mut format)?;
        succeed(Command::new("mount").args(["-o", "loop"]).args([&disk.file, &disk.dir]))?;
        Ok(disk)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until everything is on the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        let dir = File::open(&self.dir).about(self.dir.display())?;
        nix::unistd::syncfs(&dir).about(self.dir.display())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Mounts and the loop device go with the mount namespace at the latest, the files with
        // the directory of the run.
        let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_file(&self.file);
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().about(&program)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(program, format!("{}: {}", output.status, said.trim())))
}
