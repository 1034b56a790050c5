//! How a child says what failed: plain data that crosses a pipe.

use rustix::io::Errno;

/// Declares an enum whose values have numbers on the wire.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $value:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $value),* }

        impl $name {
            const ALL: &'static [$name] = &[$($name::$value),*];

            fn from_number(number: u8) -> Option<$name> {
                $name::ALL.get(usize::from(number)).copied()
            }
        }
    };
}

numbered! {
    /// What a child was doing.
    Stage {
        /// Making the mounts independent of the host's.
        Propagation,
        /// Mounting the root.
        Root,
        /// Mount number `index` of the configuration.
        Mount,
        /// Device number `index` of the plan.
        Device,
        /// Symbolic link number `index` in `/dev`.
        Link,
        /// The console.
        Console,
        /// Changing the root.
        Pivot,
        /// Masked path number `index`.
        Masked,
        /// Read-only path number `index`.
        ReadOnly,
        /// Mount number `index` becomes read-only at last.
        Seal,
        /// The root becomes read-only, and gets its propagation.
        SealRoot,
        /// A private procfs.
        Proc,
    }
}

numbered! {
    /// Which call failed, or which check.
    Call {
        /// openat2(2): finding a place in the container.
        Resolve,
        /// Making a missing directory or file.
        Create,
        /// open_tree(2) on a source.
        OpenTree,
        /// fsopen(2).
        FsOpen,
        /// fsconfig(2): an option.
        FsConfig,
        /// fsconfig(2): making the file system.
        FsCreate,
        /// fsmount(2).
        FsMount,
        /// move_mount(2).
        MoveMount,
        /// mount_setattr(2).
        SetAttributes,
        /// mount(2).
        Mount,
        /// umount2(2).
        Unmount,
        /// fchdir(2), chroot(2).
        ChangeRoot,
        /// pivot_root(2).
        PivotRoot,
        /// mknodat(2).
        MakeNode,
        /// symlinkat(2).
        MakeLink,
        /// Removing what was in the way.
        Remove,
        /// Setting the owner or the mode of a new file.
        Own,
        /// Copying what a tmpfs covers.
        CopyUp,
        /// Opening a terminal.
        Terminal,
        /// Looking at a file.
        Inspect,
        /// A check: the place is procfs, where nothing may be mounted.
        OnProc,
        /// A check: the source is not what the place must have, such as procfs for `/proc`.
        Source,
        /// A check: a device is not the one it has to be.
        Identity,
        /// A check: the container's `/dev/null` is not the null device.
        Null,
    }
}

/// Why a child could not go on; [`Plan::explain`](crate::Plan::explain) puts it into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was being done.
    pub stage: Stage,
    /// Which one of several.
    pub index: u32,
    /// What failed.
    pub call: Call,
    /// The kernel's answer.
    pub errno: Errno,
}

/// Marks the bytes of a failure.
const MAGIC: [u8; 2] = *b"rf";

impl Failure {
    /// Bytes of the wire form.
    pub const SIZE: usize = 12;

    /// The wire form.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let [i0, i1, i2, i3] = self.index.to_le_bytes();
        let [e0, e1, e2, e3] = self.errno.raw_os_error().to_le_bytes();
        let [m0, m1] = MAGIC;
        [m0, m1, self.stage as u8, self.call as u8, i0, i1, i2, i3, e0, e1, e2, e3]
    }

    /// Reads the wire form; `None` when these bytes are none.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Option<Failure> {
        let [m0, m1, stage, call, i0, i1, i2, i3, e0, e1, e2, e3] = bytes;
        let errno = i32::from_le_bytes([e0, e1, e2, e3]);
        if [m0, m1] != MAGIC || !(1..4096).contains(&errno) {
            return None;
        }
        Some(Failure {
            stage: Stage::from_number(stage)?,
            index: u32::from_le_bytes([i0, i1, i2, i3]),
            call: Call::from_number(call)?,
            errno: Errno::from_raw_os_error(errno),
        })
    }
}

/// What failed, before it is known for which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) call: Call,
    pub(crate) errno: Errno,
}

/// What one step answers.
pub(crate) type Step<T> = Result<T, Fault>;

impl Fault {
    pub(crate) fn new(call: Call, errno: Errno) -> Fault {
        Fault { call, errno }
    }
}

/// Names the call that an error of the kernel belongs to.
pub(crate) trait At<T> {
    fn at(self, call: Call) -> Step<T>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, call: Call) -> Step<T> {
        self.map_err(|errno| Fault { call, errno })
    }
}

/// Names the step that a fault belongs to.
pub(crate) trait During<T> {
    fn during(self, stage: Stage, index: usize) -> Result<T, Failure>;
}

impl<T> During<T> for Step<T> {
    fn during(self, stage: Stage, index: usize) -> Result<T, Failure> {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.map_err(|Fault { call, errno }| Failure { stage, index, call, errno })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_survives_the_pipe() {
        for &stage in Stage::ALL {
            for &call in Call::ALL {
                let failure = Failure { stage, index: 70_000, call, errno: Errno::NODEV };
                assert_eq!(Failure::from_bytes(failure.to_bytes()), Some(failure));
            }
        }
    }

    #[test]
    fn other_bytes_are_no_failure() {
        let good = Failure { stage: Stage::Root, index: 0, call: Call::Mount, errno: Errno::PERM };
        for (at, value) in [(0, 0), (1, 0), (2, 200), (3, 200), (8, 0), (11, 255)] {
            let mut bytes = good.to_bytes();
            bytes[at] = value;
            assert_eq!(Failure::from_bytes(bytes), None, "byte {at}");
        }
    }
}
