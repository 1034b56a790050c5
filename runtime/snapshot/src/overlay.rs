//! The overlay backend.

use crate::backend::{Backend, Chain, NewSnapshot};
use crate::error::{Error, Kind};
use crate::implied::copy_attributes;
use crate::mount::{LAYERS, Layers, Mount};
use crate::record::{Info, SnapshotKind};
use crate::root::Root;
use layer::Whiteouts;
use rustix::fs::{Mode, OFlags, fchown, fstat, open};
use rustix::process::{Gid, Uid};

/// Layers mounted over each other by the kernel.
#[derive(Debug)]
pub struct Overlay {
    user_xattr: bool,
}

#[expect(private_interfaces, reason = "sealed: implemented in this crate only")]
impl Backend for Overlay {
    fn probe(root: &Root) -> Result<Overlay, Error> {
        let privileged = rustix::process::geteuid().is_root()
            && !std::fs::read_to_string("/proc/self/uid_map")
                .is_ok_and(|map| !map.trim_end().ends_with("4294967295"));
        let overlay = Overlay { user_xattr: !privileged };
        let (id, dir) = root.make()?;
        let tried = overlay.try_mount(root, id, &dir);
        root.discard(id)?;
        tried.map(|()| overlay).map_err(|e| e.of(Kind::Unsupported))
    }

    fn whiteouts(&self) -> Whiteouts {
        if self.user_xattr { Whiteouts::UserOverlay } else { Whiteouts::Overlay }
    }

    fn fill(&self, root: &Root, new: &NewSnapshot<'_>, chain: &Chain) -> Result<(), Error> {
        if new.info.ids.is_some() {
            root.make_in(new.info.id, new.dir, LAYERS)?;
        }
        if new.info.kind == SnapshotKind::View {
            return Ok(());
        }
        root.make_in(new.info.id, new.dir, "work")?;
        let Some((_, top)) = chain.layers.first() else { return Ok(()) };
        // The root of the overlay is the upper directory's.
        let failed = |e| Error::io(top, "open", e);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lower = open(top, flags, Mode::empty()).map_err(failed)?;
        copy_attributes(&lower, new.files, &root.new_at(new.info.id))?;
        let Some(ids) = &new.info.ids else { return Ok(()) };
        let stat = fstat(&lower).map_err(failed)?;
        let (uid, gid) = ids.map(stat.st_uid, stat.st_gid).ok_or_else(|| {
            Error::new(Kind::Invalid, &new.info.name, "the owner of its root has no place in ids")
        })?;
        fchown(new.files, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|e| Error::io(&root.new_at(new.info.id), "set the owner", e))
    }

    fn mount(&self, root: &Root, info: &Info, chain: &Chain) -> Mount {
        let own = root.at(info.id);
        let mut lower: Vec<_> = chain.layers.iter().map(|(_, path)| path.clone()).collect();
        let upper = match info.kind {
            SnapshotKind::Active => Some((own.join("fs"), own.join("work"))),
            _ => None,
        };
        // An overlay needs one layer beneath an upper directory, and two without.
        if upper.is_none() && lower.len() < 2 || lower.is_empty() {
            lower.push(root.path().join("empty"));
            if upper.is_none() && lower.len() < 2 {
                lower.push(own.join("fs"));
            }
        }
        let place = info.ids.as_ref().map(|_| own.join(LAYERS));
        let (user_xattr, volatile) = (self.user_xattr, false);
        Mount::Overlay(Layers { lower, upper, user_xattr, volatile, place })
    }
}

impl Overlay {
    fn try_mount(&self, root: &Root, id: u64, dir: &std::os::fd::OwnedFd) -> Result<(), Error> {
        for name in ["fs", "work"] {
            root.make_in(id, dir, name)?;
        }
        let own = root.new_at(id);
        let layers = Layers {
            lower: vec![root.path().join("empty")],
            upper: Some((own.join("fs"), own.join("work"))),
            user_xattr: self.user_xattr,
            volatile: false,
            place: None,
        };
        Mount::Overlay(layers).open(None).map(drop)?;
        // The kernel mounts over file systems that cannot hold its marks, too, and fails later.
        let files = open(own.join("fs"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::io(&own, "open", e))?;
        let mark = if self.user_xattr { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
        rustix::fs::fsetxattr(&files, mark, b"y", rustix::fs::XattrFlags::empty())
            .map_err(|e| Error::io(&own, "set an overlay's mark", e))
    }
}
