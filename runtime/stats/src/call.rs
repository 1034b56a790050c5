//! What one call has in common: facts of the node that are the same for all pods it tells of.

use crate::service::Shared;
use ::container::Container;
use rustix::fs::{StatVfs, statvfs};
use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// One call for statistics or metrics.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) devices: Devices,
    disk: OnceLock<Option<StatVfs>>,
}

/// Names of block devices, as long as a call goes on: numbers are given again to others.
#[derive(Debug, Default)]
pub(crate) struct Devices(Mutex<HashMap<(u32, u32), Arc<str>>>);

impl<'a> Call<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Call<'a> {
        Call { shared, devices: Devices::default(), disk: OnceLock::new() }
    }

    /// The file system that the writable layers are on, which is that of every container's records.
    pub(crate) fn disk(&self, container: &Container) -> Option<&StatVfs> {
        let dir = container.state_dir().parent()?;
        self.disk.get_or_init(|| statvfs(dir).ok()).as_ref()
    }
}

impl Devices {
    /// `/dev/sda`; empty for a device that the kernel does not name.
    pub(crate) fn name(&self, major: u32, minor: u32) -> Arc<str> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((major, minor)).or_insert_with(|| named(major, minor).into()).clone()
    }
}

fn named(major: u32, minor: u32) -> String {
    let link = fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = link.ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    name.map(|name| format!("/dev/{name}")).unwrap_or_default()
}
