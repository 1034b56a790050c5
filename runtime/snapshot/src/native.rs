//! The native backend: every active snapshot and view is a copy.

use crate::backend::{Backend, Chain, NewSnapshot};
use crate::error::Error;
use crate::merge::Merge;
use crate::mount::Mount;
use crate::record::{Info, SnapshotKind};
use crate::root::Root;
use layer::Whiteouts;
use std::os::fd::AsFd;

/// Copies: reflinks where the file system has them.
#[derive(Debug)]
pub struct Native;

#[expect(private_interfaces, reason = "sealed: implemented in this crate only")]
impl Backend for Native {
    fn probe(_root: &Root) -> Result<Native, Error> {
        Ok(Native)
    }

    fn whiteouts(&self) -> Whiteouts {
        Whiteouts::Files
    }

    fn fill(&self, root: &Root, new: &NewSnapshot<'_>, chain: &Chain) -> Result<(), Error> {
        let own = root.new_at(new.info.id).join("fs");
        let merge = Merge::new(new.files.as_fd(), &own, new.info.ids.as_ref());
        merge.all(chain.layers.iter().rev().map(|(_, path)| path.as_path()))
    }

    fn mount(&self, root: &Root, info: &Info, _chain: &Chain) -> Mount {
        let read_only = info.kind != SnapshotKind::Active;
        Mount::Bind { source: root.at(info.id).join("fs"), read_only }
    }
}
