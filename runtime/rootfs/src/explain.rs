//! A child's failure in words, by the parent that has the plan.

use crate::failure::{Call, Failure, Stage};
use crate::plan::{Kind, Plan};
use crate::{Error, ErrorKind};
use rustix::io::Errno;

impl Plan {
    /// Puts a failure of this plan's child into words: the entry of the configuration, what was
    /// tried, the kernel's answer, and what to do where that is known.
    pub fn explain(&self, failure: Failure) -> Error {
        let cause = format!("{}: {}", self.tried(failure), failure.errno);
        let refused =
            matches!(failure.call, Call::OnProc | Call::Source | Call::Identity | Call::Null)
                || (failure.call == Call::Resolve && failure.errno == Errno::LOOP);
        Error {
            kind: if refused { ErrorKind::Refused } else { ErrorKind::Kernel(failure.errno) },
            subject: self.subject(failure),
            cause,
            hint: self.hint(failure).map(str::to_owned),
        }
    }

    fn subject(&self, Failure { stage, index, .. }: Failure) -> String {
        let at = index as usize;
        let named = |what: &str, name: Option<String>| match name {
            Some(name) => format!("{what}[{index}]: {name}"),
            None => format!("{what}[{index}]"),
        };
        let absolute = |path: &std::ffi::CString| format!("/{}", path.to_string_lossy());
        let mount = || self.mounts.get(at).map(|step| step.subject.clone());
        match stage {
            Stage::Propagation => "host's mounts".to_owned(),
            Stage::Root | Stage::Pivot | Stage::SealRoot => {
                format!("root.path: {}", self.root.to_string_lossy())
            }
            Stage::Mount | Stage::Seal => mount().unwrap_or_else(|| named("mounts", None)),
            Stage::Device => match self.devices.get(at) {
                Some(device) => format!("device {}", device.host.to_string_lossy()),
                None => named("device", None),
            },
            Stage::Link => match self.links.get(at) {
                Some(link) => format!("link /dev/{}", link.name.to_string_lossy()),
                None => named("link", None),
            },
            Stage::Console => "/dev/console".to_owned(),
            Stage::Masked => named("linux.maskedPaths", self.masked.get(at).map(absolute)),
            Stage::ReadOnly => named("linux.readonlyPaths", self.read_only.get(at).map(absolute)),
            Stage::Proc => "procfs".to_owned(),
        }
    }

    fn tried(&self, failure: Failure) -> String {
        let step = self.mounts.get(failure.index as usize);
        let kind = step.filter(|_| failure.stage == Stage::Mount).map(|step| &step.kind);
        let name = match kind {
            Some(Kind::New { name, .. }) => name.to_string_lossy().into_owned(),
            _ => "file system".to_owned(),
        };
        let source = match (failure.stage, kind) {
            (_, Some(Kind::Bind { source, .. })) => source.to_string_lossy().into_owned(),
            (Stage::Device, _) => "the host's file".to_owned(),
            (Stage::Root, _) => "the directory".to_owned(),
            _ => "what is bound".to_owned(),
        };
        match failure.call {
            Call::Resolve => "finding the place in the container".to_owned(),
            Call::Create => "making the place in the container".to_owned(),
            Call::OpenTree => format!("opening {source} (open_tree)"),
            Call::FsOpen => format!("type {name} (fsopen)"),
            Call::FsConfig => format!("{name} refuses an option (fsconfig)"),
            Call::FsCreate => format!("{name} cannot be made (fsconfig)"),
            Call::FsMount => format!("{name} cannot be mounted (fsmount)"),
            Call::MoveMount => "attaching (move_mount)".to_owned(),
            Call::SetAttributes => "changing attributes (mount_setattr)".to_owned(),
            Call::Mount => "mount".to_owned(),
            Call::Unmount => "umount".to_owned(),
            Call::ChangeRoot => "changing the root (chroot)".to_owned(),
            Call::PivotRoot => "changing the root (pivot_root)".to_owned(),
            Call::MakeNode => "making the device file (mknod)".to_owned(),
            Call::MakeLink => "making the link (symlink)".to_owned(),
            Call::Remove => "removing what the image has there".to_owned(),
            Call::Own => "setting the owner".to_owned(),
            Call::CopyUp => "copying what the tmpfs covers".to_owned(),
            Call::Terminal => "opening a terminal".to_owned(),
            Call::Inspect => "looking at the file".to_owned(),
            Call::OnProc => "the place is on procfs, where nothing may be mounted".to_owned(),
            Call::Source => "the source is not what this place must have".to_owned(),
            Call::Null => "the container's /dev/null is not the null device".to_owned(),
            Call::Identity => "what is there is not the device it has to be".to_owned(),
        }
    }

    fn hint(&self, failure: Failure) -> Option<&'static str> {
        let Failure { stage, call, errno, .. } = failure;
        let step = self.mounts.get(failure.index as usize).filter(|_| stage == Stage::Mount);
        let system = step.is_some_and(|step| matches!(step.place.as_bytes(), b"proc" | b"sys"));
        Some(match (stage, call, errno) {
            // These words are those that callers of runc know.
            (_, Call::Resolve, Errno::LOOP) if system => "it must be mounted on ordinary directory",
            (_, Call::Resolve, Errno::LOOP) => "the image has a symbolic link there",
            (Stage::Mount, Call::OpenTree, Errno::NOENT) => "the source does not exist on the host",
            (Stage::Root, Call::OpenTree, Errno::NOENT) => "the root does not exist",
            (Stage::Mount, Call::OpenTree, Errno::INVAL) if self.user_namespace => {
                "in a user namespace a source with mounts below it needs rbind instead of bind"
            }
            (_, Call::SetAttributes, Errno::PERM) => {
                "a user namespace cannot take back ro, nosuid, nodev, noexec or the access times of its source"
            }
            (_, Call::SetAttributes, Errno::NOSYS) => "this option needs Linux 5.12",
            (_, Call::FsOpen, Errno::NODEV) => "this kernel does not know the type",
            (_, Call::FsMount, Errno::PERM) => {
                "a user namespace may mount this only where the host's own is wholly visible"
            }
            (_, Call::MoveMount, Errno::NOTDIR) => {
                "a directory cannot be mounted on a file, nor a file on a directory"
            }
            (_, Call::MoveMount, Errno::NOSPC) => "the limit fs.mount-max is reached",
            (_, Call::FsCreate | Call::Mount, Errno::PERM) if self.user_namespace => {
                "the user namespace does not own what this type shows"
            }
            (_, Call::PivotRoot, Errno::INVAL) => {
                "on a host that runs from an initramfs, do without pivot_root (--no-pivot)"
            }
            (Stage::Console, Call::OpenTree, Errno::INVAL) => {
                "the terminal must be of a devpts in the container's mount namespace"
            }
            (Stage::Console, Call::Source | Call::Resolve, _) => "mount a devpts at /dev/pts",
            (_, Call::Null, _) => "masked files are covered with it",
            (_, Call::CopyUp, Errno::NOSPC) => "the tmpfs is smaller than what it covers",
            _ => return None,
        })
    }
}
