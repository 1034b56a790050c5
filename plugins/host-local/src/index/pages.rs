//! A file in pages: read when touched, written when committed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes in a page.
pub(super) const PAGE: usize = 4096;

type Page = Box<[u8]>;

/// The pages of one index file, or of one that is not written yet.
#[derive(Debug)]
pub(super) struct Pages {
    file: Option<File>,
    held: Vec<Option<Page>>,
    dirty: Vec<bool>,
}

impl Pages {
    /// `count` pages of `file`.
    pub(super) fn of(file: File, count: usize) -> Pages {
        Pages { file: Some(file), held: vec![None; count], dirty: vec![false; count] }
    }

    /// `count` zeroed pages in memory.
    pub(super) fn zeroed(count: usize) -> Pages {
        Pages { file: None, held: vec![None; count], dirty: vec![true; count] }
    }

    /// The same file with more pages.
    pub(super) fn widen(mut self, count: usize) -> Pages {
        self.held.resize(count, None);
        self.dirty.resize(count, false);
        self
    }

    /// Whether there is no file behind the pages yet.
    pub(super) fn is_new(&self) -> bool {
        self.file.is_none()
    }

    fn page(&mut self, number: usize) -> io::Result<&mut Page> {
        let file = self.file.as_ref();
        let held = self.held.get_mut(number).ok_or(io::ErrorKind::InvalidData)?;
        match held {
            Some(page) => Ok(page),
            None => {
                let mut page = vec![0; PAGE].into_boxed_slice();
                if let Some(file) = file {
                    file.read_exact_at(&mut page, (number * PAGE) as u64)?;
                }
                Ok(held.insert(page))
            }
        }
    }

    /// Reads all pages at once; worth it before touching many.
    pub(super) fn load(&mut self) -> io::Result<()> {
        let Some(file) = self.file.as_ref() else { return Ok(()) };
        if self.held.iter().all(Option::is_some) {
            return Ok(());
        }
        let mut all = vec![0; self.held.len() * PAGE];
        file.read_exact_at(&mut all, 0)?;
        for (held, bytes) in self.held.iter_mut().zip(all.chunks_exact(PAGE)) {
            // A page that is held may have been changed.
            held.get_or_insert_with(|| bytes.into());
        }
        Ok(())
    }

    /// `len` bytes at `at`; they must lie within one page.
    pub(super) fn read(&mut self, at: usize, len: usize) -> io::Result<&[u8]> {
        let (number, offset) = (at / PAGE, at % PAGE);
        self.page(number)?
            .get(offset..offset + len)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Overwrites the bytes at `at`; they must lie within one page.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let (number, offset) = (at / PAGE, at % PAGE);
        let into = self
            .page(number)?
            .get_mut(offset..offset + bytes.len())
            .ok_or(io::ErrorKind::InvalidData)?;
        if into != bytes {
            into.copy_from_slice(bytes);
            self.dirty[number] = true;
        }
        Ok(())
    }

    /// Writes the changed pages to the file.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(file) = self.file.as_ref() else { return Ok(()) };
        for (number, dirty) in self.dirty.iter_mut().enumerate().filter(|(_, dirty)| **dirty) {
            if let Some(Some(page)) = self.held.get(number) {
                file.write_all_at(page, (number * PAGE) as u64)?;
            }
            *dirty = false;
        }
        Ok(())
    }

    /// Writes all pages to `file`, which is behind them from now on.
    ///
    /// One by one: a large write is cached in large folios, and to change a page in one of those
    /// later costs several times as much. Empty pages are written too, so that no later change
    /// needs room on the disk.
    pub(super) fn write_to(&mut self, file: File) -> io::Result<()> {
        let empty = [0; PAGE];
        for (number, held) in self.held.iter().enumerate() {
            let page = held.as_deref().unwrap_or(&empty);
            file.write_all_at(page, (number * PAGE) as u64)?;
        }
        self.dirty.fill(false);
        self.file = Some(file);
        Ok(())
    }
}
