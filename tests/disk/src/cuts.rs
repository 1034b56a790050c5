//! The disk as a power cut may leave it.

use crate::{Dice, Event, Journal};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Makes disks as power cuts at ascending points of a journal may leave them.
pub struct Cuts<'a> {
    journal: &'a Journal,
    /// What flushes have confirmed.
    firm: Vec<u8>,
    /// Events before this one are in `firm`.
    applied: usize,
    dice: Dice,
    dir: PathBuf,
}

impl<'a> Cuts<'a> {
    /// Nothing is cut yet.
    pub fn new(journal: &'a Journal, seed: u64) -> Cuts<'a> {
        let dir = std::env::temp_dir().join(format!("podloom-cuts-{}-{seed}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("directory for disks");
        Cuts { journal, firm: vec![0; journal.size], applied: 0, dice: Dice::new(seed), dir }
    }

    /// Cuts the power before event `at`, which must not be before the last cut, and gives the
    /// disk's image. The image is the same file every time.
    pub fn cut(&mut self, at: usize) -> PathBuf {
        let flushed = (self.applied..at).rev().find(|&n| self.journal.events[n] == Event::Flush);
        if let Some(flushed) = flushed {
            for event in &self.journal.events[self.applied..flushed] {
                if let Event::Write(offset, bytes) = event {
                    lay(&mut self.firm, *offset, bytes);
                }
            }
            self.applied = flushed + 1;
        }
        let mut disk = self.firm.clone();
        for n in self.loose(at) {
            if let Event::Write(offset, bytes) = &self.journal.events[n] {
                lay(&mut disk, *offset, bytes);
            }
        }
        let path = self.dir.join("disk");
        write_sparse(&path, &disk);
        path
    }

    /// Which of the unconfirmed writes reached the medium: none, all, or some, in sectors' luck.
    fn loose(&mut self, at: usize) -> Vec<usize> {
        let open = self.applied..at;
        match self.dice.below(4) {
            0 => Vec::new(),
            1 => open.collect(),
            _ => open.filter(|_| self.dice.below(2) == 0).collect(),
        }
    }
}

impl Drop for Cuts<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn lay(disk: &mut [u8], offset: u64, bytes: &[u8]) {
    let offset = usize::try_from(offset).unwrap();
    disk[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn write_sparse(path: &std::path::Path, disk: &[u8]) {
    const PIECE: usize = 64 << 10;
    // A new file each time: the loop device of the cut before may still be letting go of the old.
    let _ = std::fs::remove_file(path);
    let file = File::create(path).expect("disk image");
    file.set_len(disk.len() as u64).expect("size of the disk image");
    for (n, piece) in disk.chunks(PIECE).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            file.write_all_at(piece, (n * PIECE) as u64).expect("write the disk image");
        }
    }
}
