//! Control groups of version 1: a tmpfs with one directory a hierarchy.

use super::{Mounted, copy_of};
use crate::attributes::{attach, change};
use crate::failure::{At, Call, Step};
use crate::options::{Change, attr};
use crate::plan::{LegacyCgroup, MountStep};
use crate::resolve::{self, Leaf};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, mkdirat, symlinkat};

impl Mounted<'_> {
    /// Mounts all hierarchies, each rooted at the container's own group. With a control group
    /// namespace this looks the same as a mount made in it.
    pub(super) fn mount_legacy(
        &self,
        step: &MountStep,
        hierarchies: &[LegacyCgroup],
    ) -> Step<OwnedFd> {
        let (place, _) = self.place(step, || Ok(Leaf::Directory))?;
        let folder = super::filesystem::group_directory(step.attributes & !attr::RDONLY)?;
        attach(folder.as_fd(), place.as_fd(), &step.changes)?;
        let attributes = step.attributes;
        let clear = if attributes & attr::ATIME == 0 { 0 } else { attr::ATIME };
        let same = Change { set: attributes, clear, ..Change::default() };
        for LegacyCgroup { name, aliases, own } in hierarchies {
            let group = copy_of(own, false)?;
            mkdirat(&folder, name.as_c_str(), Mode::from_raw_mode(0o755)).at(Call::Create)?;
            let place = resolve::child(folder.as_fd(), name).at(Call::Resolve)?;
            attach(group.as_fd(), place.as_fd(), &[same])?;
            for alias in aliases {
                symlinkat(name.as_c_str(), &folder, alias.as_c_str()).at(Call::MakeLink)?;
            }
        }
        if attributes & attr::RDONLY != 0 {
            change(folder.as_fd(), &Change { set: attr::RDONLY, ..Change::default() })?;
        }
        Ok(folder)
    }
}
