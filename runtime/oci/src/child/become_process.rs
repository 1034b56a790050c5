//! The last steps of every process: from the runtime's child to the container's program.

use super::{Outcome, home};
use crate::capability::{LAST, Sets};
use crate::process::Plan;
use crate::sync::{At, Fault, Step};
use crate::sys;
use rootfs::ProcHandle;
use rustix::fd::AsFd;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::cell::Cell;

const SET_KEEPCAPS: i32 = 8;
const CAPBSET_DROP: i32 = 24;
const SET_NO_NEW_PRIVS: i32 = 38;
const CAP_AMBIENT: i32 = 47;

type Done = std::result::Result<(), Fault>;

/// What the last steps need.
pub(crate) struct Tail<'a> {
    pub(crate) plan: &'a Plan,
    /// Descriptors from 3 on that the process keeps.
    pub(crate) preserve: u32,
    /// What takes the place of this process's executable.
    pub(crate) exe: Option<&'a sys::Disguise>,
    /// Filter of system calls.
    pub(crate) filter: Option<&'a crate::filter::Filter>,
    /// Whether this process sets its own limits; else its parent does, which has the rights.
    pub(crate) own_limits: bool,
    /// The runtime itself could enter the working directory.
    pub(crate) entered: Cell<bool>,
}

impl Tail<'_> {
    /// Labels, working directory and program: what can fail for the configuration's sake, while
    /// somebody waits for the answer.
    pub(crate) fn settle(
        &self,
        proc: impl FnOnce() -> std::result::Result<ProcHandle, Fault>,
    ) -> Done {
        if self.plan.apparmor.is_some() || self.plan.selinux.is_some() {
            self.label(&proc()?)?;
        }
        if let Some(scheduler) = &self.plan.scheduler {
            sys::set_scheduler(scheduler).at(Step::Scheduler)?;
        }
        if let Some(priority) = self.plan.io_priority {
            sys::set_io_priority(priority).at(Step::IoPriority)?;
        }
        self.own_streams();
        match self.enter_directory() {
            // The user may be able to where the runtime is not.
            Err(Fault::Step(_, _, Errno::ACCESS)) => {}
            other => {
                other?;
                self.entered.set(true);
            }
        }
        self.find_program()?;
        match self.exe {
            Some(disguise) => sys::leave_exe(disguise).at(Step::Executable),
            None => Ok(()),
        }
    }

    fn label(&self, proc: &ProcHandle) -> Done {
        if let Some(profile) = &self.plan.apparmor {
            // Kernels before 5.8 have the older name only.
            proc.write(c"self/attr/apparmor/exec", profile)
                .or_else(|_| proc.write(c"self/attr/exec", profile))
                .at(Step::AppArmor)?;
        }
        match &self.plan.selinux {
            Some(label) => proc.write(c"self/attr/exec", label).at(Step::Selinux),
            None => Ok(()),
        }
    }

    /// Gives the standard streams to the user, so that it can open them again by `/dev/stdout`.
    /// Streams that cannot be given are left as they are.
    fn own_streams(&self) {
        for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            let Ok(stat) = rustix::fs::fstat(stream) else { continue };
            let null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                && stat.st_rdev == rustix::fs::makedev(1, 3);
            if !null && stat.st_uid != self.plan.uid {
                let owner = rustix::fs::Uid::from_raw(self.plan.uid);
                let _ = rustix::fs::fchown(stream, Some(owner), None);
            }
        }
    }

    fn enter_directory(&self) -> Done {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_MAGICLINKS;
        let cwd = self.plan.cwd.as_c_str();
        let directory = match rustix::fs::openat2(CWD, cwd, flags, Mode::empty(), resolve) {
            Err(Errno::LOOP) => Err(Fault::Step(Step::OutsideDirectory, 0, Errno::PERM)),
            other => other.at(Step::Directory),
        }?;
        rustix::process::fchdir(&directory).at(Step::Directory)?;
        // A directory reached through a descriptor of the host is not below the root
        // (CVE-2024-21626): the kernel then gives it a name without a leading slash, or none.
        let mut name = [0; 4096];
        match sys::working_directory(&mut name) {
            Ok([b'/', ..]) => Ok(()),
            Ok(_) | Err(Errno::NOENT) => Err(Fault::Step(Step::OutsideDirectory, 0, Errno::PERM)),
            Err(errno) => Err(Fault::Step(Step::Directory, 0, errno)),
        }
    }

    fn find_program(&self) -> Done {
        if self.plan.args.is_empty() {
            // Without a process in the configuration it is never started.
            return Ok(());
        }
        let mut reason = Errno::NOENT;
        for (index, program) in self.plan.programs.iter().enumerate() {
            let found = rustix::fs::statat(CWD, program.as_c_str(), AtFlags::empty());
            let usable = found.and_then(|stat| match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => rustix::fs::access(program.as_c_str(), Access::EXEC_OK),
                FileType::Directory => Err(Errno::ISDIR),
                _ => Err(Errno::ACCESS),
            });
            match usable {
                Ok(()) => return Ok(()),
                Err(Errno::NOENT | Errno::NOTDIR) if index > 0 || self.plan.programs.len() > 1 => {}
                Err(errno) => reason = errno,
            }
        }
        // A directory that the runtime cannot search may still hold it for the user.
        if reason == Errno::ACCESS && self.plan.uid != 0 && self.plan.programs.len() == 1 {
            return Ok(());
        }
        Err(Fault::Step(Step::Program, 0, reason))
    }

    /// Limits, credentials, filter, and the program itself.
    pub(crate) fn execute(&self) -> Outcome {
        let plan = self.plan;
        // What the runtime ignores or blocks for itself would outlast exec.
        sys::reset_signals();
        if self.own_limits {
            for (index, (which, soft, hard)) in plan.limits.iter().enumerate() {
                sys::set_limit(0, *which, *soft, *hard).nth(Step::Limit, index)?;
            }
        }
        if plan.no_new_privileges {
            sys::control(SET_NO_NEW_PRIVS, 1, 0, 0).at(Step::NoNewPrivileges)?;
            self.credentials()?;
            self.enter_directory_as_user()?;
            sys::close_on_exec_from(3 + self.preserve).at(Step::Descriptors)?;
            let mut buffer = [0; home::LINE_MAX];
            self.set_home(&mut buffer);
            self.filter_calls()?;
            Err(self.replace())
        } else {
            // Without it the filter needs a capability that the credentials take away.
            sys::close_on_exec_from(3 + self.preserve).at(Step::Descriptors)?;
            let mut buffer = [0; home::LINE_MAX];
            self.set_home(&mut buffer);
            self.filter_calls()?;
            self.credentials()?;
            self.enter_directory_as_user()?;
            Err(self.replace())
        }
    }

    fn filter_calls(&self) -> Done {
        match self.filter {
            Some(filter) => filter.install(),
            None => Ok(()),
        }
    }

    fn set_home(&self, buffer: &mut [u8; home::LINE_MAX]) {
        if self.plan.home
            && let Some(entry) = home::find(self.plan.uid, buffer)
        {
            self.plan.env.replace_last(entry);
        }
    }

    fn enter_directory_as_user(&self) -> Done {
        if self.entered.get() { Ok(()) } else { self.enter_directory() }
    }

    fn credentials(&self) -> Done {
        let plan = self.plan;
        if let Some(mask) = plan.umask {
            rustix::process::umask(Mode::from_raw_mode(mask));
        }
        let sets = &plan.capabilities;
        drop_bounding(sets)?;
        match sys::set_groups(&plan.groups) {
            // A user namespace made without privileges has no right to set groups.
            Err(Errno::PERM) if plan.groups.is_empty() => {}
            other => other.at(Step::Groups)?,
        }
        sys::control(SET_KEEPCAPS, 1, 0, 0).at(Step::Capabilities)?;
        sys::set_gid(plan.gid).at(Step::Group)?;
        sys::set_uid(plan.uid).at(Step::User)?;
        let (_, mine, _) = sys::capabilities().at(Step::Capabilities)?;
        let (permitted, inheritable) = (sets.permitted & mine, sets.inheritable & mine);
        sys::set_capabilities(sets.effective & mine, permitted, inheritable)
            .at(Step::Capabilities)?;
        for bit in (0..=LAST).filter(|bit| sets.ambient & mine & (1 << bit) != 0) {
            sys::control(CAP_AMBIENT, 2, u64::from(bit), 0).nth(Step::Ambient, bit as usize)?;
        }
        sys::control(SET_KEEPCAPS, 0, 0, 0).at(Step::Capabilities).map(drop)
    }

    fn replace(&self) -> Fault {
        let mut reason = Errno::NOENT;
        for program in &self.plan.programs {
            match sys::exec(program, &self.plan.args, &self.plan.env) {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => reason = Errno::ACCESS,
                errno => return Fault::Step(Step::Exec, 0, errno),
            }
        }
        Fault::Step(Step::Exec, 0, reason)
    }
}

/// Takes from the bounding set what is not wanted, unknown later capabilities included.
fn drop_bounding(sets: &Sets) -> Done {
    for bit in (0..64_u64).filter(|bit| sets.bounding & (1 << bit) == 0) {
        match sys::control(CAPBSET_DROP, bit, 0, 0) {
            // The kernel has no more of them.
            Err(Errno::INVAL) => break,
            other => other.nth(Step::Bounding, bit as usize)?,
        };
    }
    Ok(())
}

/// No carriage return before a new line: the runtime copies the output to what may be a file.
pub(crate) fn plain_lines(terminal: impl AsFd) -> rustix::io::Result<()> {
    let mut mode = rustix::termios::tcgetattr(&terminal)?;
    mode.output_modes.remove(rustix::termios::OutputModes::ONLCR);
    rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Now, &mode)
}

/// Makes a terminal this process's standard streams and its controlling one.
pub(crate) fn use_terminal(slave: impl AsFd, size: Option<&runtime_spec::ConsoleSize>) -> Done {
    let slave = slave.as_fd();
    if let Some(size) = size {
        let size = rustix::termios::Winsize {
            ws_row: size.height,
            ws_col: size.width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(slave, size).at(Step::Terminal)?;
    }
    sys::take_terminal(slave).at(Step::Terminal)?;
    (0..3).try_for_each(|stream| sys::place(slave, stream).at(Step::Terminal))
}
