//! Whose files the unpacked files are.

/// A range of ids: `size` of them from `container` on become those from `host` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id as the layer names it.
    pub container: u32,
    /// First id as it is on disk.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// How ids of a layer become ids on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Owner {
    /// As the layer says.
    #[default]
    Keep,
    /// Shifted, for kernels that cannot map the ids of an overlay's layers at mount.
    Mapped {
        /// Of users.
        uids: Vec<IdRange>,
        /// Of groups.
        gids: Vec<IdRange>,
    },
    /// Everything is the caller's: a process that may not give files away.
    Caller,
}

/// The id on disk of `id`, or `None` when no range has it.
pub(crate) fn map(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.container)?;
        (offset < range.size).then(|| range.host.checked_add(offset))?
    })
}

impl Owner {
    /// Owner and group on disk, or the id that has no place. `None` inside: leave as created.
    pub(crate) fn of(&self, uid: u32, gid: u32) -> Result<Option<(u32, u32)>, u32> {
        match self {
            Owner::Keep => Ok(Some((uid, gid))),
            Owner::Caller => Ok(None),
            Owner::Mapped { uids, gids } => {
                Ok(Some((map(uids, uid).ok_or(uid)?, map(gids, gid).ok_or(gid)?)))
            }
        }
    }
}
