//! Masked and read-only paths.

use super::{Mounted, copy_of_open, filesystem};
use crate::attributes::{attach, is_directory};
use crate::failure::{At, Call, During, Failure, Fault, Stage, Step};
use crate::options::{Change, attr};
use crate::plan::NULL;
use crate::resolve::{self, Links};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use std::ffi::CStr;

/// What masks are copied from, opened when first needed.
#[derive(Default)]
struct Covers {
    /// The container's null device, verified.
    null: Option<OwnedFd>,
    /// An empty directory that is mounted somewhere already.
    empty: Option<OwnedFd>,
}

impl Mounted<'_> {
    pub(super) fn mask_paths(&self) -> Result<(), Failure> {
        let mut covers = Covers::default();
        for (index, path) in self.plan.masked.iter().enumerate() {
            self.mask(path, &mut covers).during(Stage::Masked, index)?;
        }
        Ok(())
    }

    fn mask(&self, path: &CStr, covers: &mut Covers) -> Step<()> {
        let Some(place) = self.existing(path)? else { return Ok(()) };
        if !is_directory(place.as_fd())? {
            let null = match &covers.null {
                Some(null) => null,
                None => covers.null.insert(self.null()?),
            };
            return attach(copy_of_open(null.as_fd(), false)?.as_fd(), place.as_fd(), &[]);
        }
        // A copy can only be made of what is mounted, so the first cover is the original.
        if let Some(empty) = &covers.empty {
            return attach(copy_of_open(empty.as_fd(), false)?.as_fd(), place.as_fd(), &[]);
        }
        let empty = filesystem::empty_directory()?;
        attach(empty.as_fd(), place.as_fd(), &[])?;
        covers.empty = Some(empty);
        Ok(())
    }

    /// The container's `/dev/null`: the device with that number, not whatever has that name.
    fn null(&self) -> Step<OwnedFd> {
        let null = resolve::find(self.root(), c"dev/null", Links::Refused).at(Call::Null)?;
        let stat = fstat(&null).at(Call::Null)?;
        let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        match character && stat.st_rdev == NULL {
            true => Ok(null),
            false => Err(Fault::new(Call::Null, Errno::NXIO)),
        }
    }

    pub(super) fn make_paths_read_only(&self) -> Result<(), Failure> {
        for (index, path) in self.plan.read_only.iter().enumerate() {
            self.make_read_only(path).during(Stage::ReadOnly, index)?;
        }
        Ok(())
    }

    fn make_read_only(&self, path: &CStr) -> Step<()> {
        let Some(place) = self.existing(path)? else { return Ok(()) };
        let change = Change { set: attr::RDONLY, ..Change::default() };
        attach(copy_of_open(place.as_fd(), true)?.as_fd(), place.as_fd(), &[change])
    }

    /// A path of the container, unless it has none: then there is nothing to hide.
    fn existing(&self, path: &CStr) -> Step<Option<OwnedFd>> {
        match resolve::find(self.root(), path, Links::Inside) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            found => found.map(Some).at(Call::Resolve),
        }
    }
}
