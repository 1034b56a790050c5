//! `/dev/console`.

use super::{Mounted, copy_of_open};
use crate::attributes::attach;
use crate::failure::{At, Call, During, Failure, Fault, Stage, Step};
use crate::resolve::{self, Links};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, major, openat2};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

/// Magic number of devpts.
const DEVPTS: i64 = 0x1cd1;

/// Major numbers of terminals on devpts.
const SLAVES: std::ops::RangeInclusive<u32> = 136..=143;

impl Mounted<'_> {
    /// A new terminal of the container's own devpts: master and slave, both closed on exec. The
    /// slave is opened from the master, not by its path.
    ///
    /// # Errors
    /// The container has no devpts at `/dev/pts`, or no terminal is free.
    pub fn open_console(&self) -> Result<(OwnedFd, OwnedFd), Failure> {
        self.new_terminal().during(Stage::Console, 0)
    }

    fn new_terminal(&self) -> Step<(OwnedFd, OwnedFd)> {
        let folder = resolve::find(self.root(), c"dev/pts", Links::Refused).at(Call::Resolve)?;
        if !on_devpts(folder.as_fd())? {
            return Err(Fault::new(Call::Source, Errno::NODEV));
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let master = openat2(&folder, c"ptmx", flags, Mode::empty(), resolve).at(Call::Terminal)?;
        unlockpt(&master).at(Call::Terminal)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).at(Call::Terminal)?;
        Ok((master, slave))
    }

    /// Binds a terminal's slave over `/dev/console`. Nothing is looked up by the slave's path: a
    /// link put in its place has no effect.
    ///
    /// # Errors
    /// The descriptor is no terminal of a devpts in this mount namespace, or `/dev/console` is a
    /// symbolic link.
    pub fn bind_console(&self, slave: BorrowedFd<'_>) -> Result<(), Failure> {
        self.cover_console(slave).during(Stage::Console, 0)
    }

    fn cover_console(&self, slave: BorrowedFd<'_>) -> Step<()> {
        let stat = fstat(slave).at(Call::Inspect)?;
        let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if !character || !SLAVES.contains(&major(stat.st_rdev)) || !on_devpts(slave)? {
            return Err(Fault::new(Call::Identity, Errno::NOTTY));
        }
        let tree = copy_of_open(slave, false)?;
        let folder = resolve::find(self.root(), c"dev", Links::Refused).at(Call::Resolve)?;
        let place = match super::device::empty_file(folder.as_fd(), c"console") {
            Err(Errno::EXIST) => resolve::child(folder.as_fd(), c"console").at(Call::Resolve)?,
            made => made.at(Call::Create)?,
        };
        attach(tree.as_fd(), place.as_fd(), &[])
    }
}

fn on_devpts(fd: BorrowedFd<'_>) -> Step<bool> {
    Ok(fstatfs(fd).at(Call::Inspect)?.f_type == DEVPTS)
}
