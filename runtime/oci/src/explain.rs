//! A child's failure in words, with the subject from the configuration.

use crate::error::words;
use crate::process::Plan;
use crate::sync::{Fault, Step};
use crate::{Error, Kind, hook};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// What the words need.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) process: &'a Plan,
    /// Program as it was given.
    pub(crate) program: &'a str,
    pub(crate) root: Option<&'a rootfs::Plan>,
    pub(crate) sysctls: &'a [(std::ffi::CString, Vec<u8>)],
    /// Which hooks the child runs at that time.
    pub(crate) hooks: &'a str,
    /// The file that they read the state from.
    pub(crate) said: Option<BorrowedFd<'a>>,
}

impl Context<'_> {
    pub(crate) fn explain(&self, fault: Fault) -> Error {
        let (step, index, errno) = match fault {
            Fault::Root(failure) => {
                return match self.root {
                    Some(root) => root.explain(failure).into(),
                    None => Error::new(Kind::System(None), "root file system", "failed"),
                };
            }
            Fault::Step(step, index, errno) => (step, index, errno),
        };
        let simple = |subject: &str, what: &str| Error::errno(subject, what, errno);
        match step {
            Step::Hook | Step::HookStatus | Step::HookTimeout => {
                hook::explain(self.hooks, fault, self.said)
            }
            Step::Program => self.program_missing(errno),
            Step::Exec => {
                let subject = format!("exec {}", self.program);
                Error::new(Kind::System(Some(errno)), subject, words(errno))
            }
            Step::Directory => simple(&self.directory(), "chdir"),
            Step::OutsideDirectory => {
                let cause = "leads outside of the container's root: refused";
                Error::new(Kind::Invalid, self.directory(), cause)
            }
            Step::Sysctl => {
                let entry = self.sysctls.get(index as usize);
                let name = entry.map(|(path, _)| path.to_string_lossy().replacen("sys/", "", 1));
                simple(&format!("linux.sysctl {}", name.unwrap_or_default()), "write")
            }
            Step::AppArmor => self.profile_refused(errno),
            Step::Limit => simple(&format!("process.rlimits[{index}]"), "setrlimit"),
            Step::Bounding | Step::Capabilities | Step::Ambient => {
                simple("process.capabilities", "set")
            }
            other => {
                let (subject, what) = plain(other);
                simple(subject, what)
            }
        }
    }

    fn directory(&self) -> String {
        format!("process.cwd {:?}", self.process.cwd.to_string_lossy())
    }

    /// A process that would run without its profile does not run.
    fn profile_refused(&self, errno: Errno) -> Error {
        let profile = self.process.apparmor.as_deref().unwrap_or_default();
        let profile = String::from_utf8_lossy(profile.strip_prefix(b"exec ").unwrap_or(profile));
        let subject = format!("process.apparmorProfile {profile:?}");
        let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled");
        if !enabled.is_ok_and(|text| text.starts_with(b"Y")) {
            let cause = "AppArmor is not enabled on this host; leave the profile out";
            return Error::new(Kind::Unsupported, subject, cause);
        }
        match errno {
            Errno::NOENT => {
                let cause = "is not loaded into the kernel; apparmor_parser loads it";
                Error::new(Kind::Invalid, subject, cause)
            }
            other => Error::errno(subject, "write", other),
        }
    }

    /// Podman and others tell "not found" from "not allowed" by these words.
    fn program_missing(&self, errno: Errno) -> Error {
        let subject = format!("exec: {:?}", self.program);
        if !self.program.contains('/') && errno == Errno::NOENT {
            let cause = "executable file not found in $PATH";
            return Error::new(Kind::System(Some(errno)), subject, cause);
        }
        Error::new(
            Kind::System(Some(errno)),
            subject,
            format!("stat {}: {}", self.program, words(errno)),
        )
    }
}

/// A failure of a process that makes or joins namespaces and nothing else.
pub(crate) fn namespaces(fault: Fault) -> Error {
    match fault {
        Fault::Step(step, _, errno) => {
            let (subject, what) = plain(step);
            Error::errno(subject, what, errno)
        }
        Fault::Root(_) => Error::new(Kind::System(None), "namespaces", "cannot be made"),
    }
}

/// Steps whose words need nothing else.
fn plain(step: Step) -> (&'static str, &'static str) {
    match step {
        Step::Join => ("linux.namespaces", "join"),
        Step::Clone => ("container's process", "clone"),
        Step::Identity => ("user namespace", "become root in it"),
        Step::Cgroup => ("control group", "join"),
        Step::Namespaces => ("linux.namespaces", "unshare"),
        Step::TimeOffsets => ("linux.timeOffsets", "write"),
        Step::Session => ("session", "setsid"),
        Step::Loopback => ("network namespace", "set lo up"),
        Step::HostName => ("hostname", "set"),
        Step::DomainName => ("domainname", "set"),
        Step::OomScore => ("process.oomScoreAdj", "write"),
        Step::Terminal => ("process.terminal", "open a terminal of the container"),
        Step::ConsoleSocket => ("console socket", "send the terminal"),
        Step::AppArmor => ("process.apparmorProfile", "apply"),
        Step::Selinux => ("process.selinuxLabel", "write"),
        Step::Personality => ("linux.personality", "set"),
        Step::MemoryPolicy => ("linux.memoryPolicy", "set_mempolicy"),
        Step::IoPriority => ("process.ioPriority", "ioprio_set"),
        Step::Scheduler => ("process.scheduler", "sched_setattr"),
        Step::Affinity => ("process.execCPUAffinity", "sched_setaffinity"),
        Step::Executable => ("runtime's own executable", "leave it behind"),
        Step::Groups => ("process.user.additionalGids", "setgroups"),
        Step::Group => ("process.user.gid", "setresgid"),
        Step::User => ("process.user.uid", "setresuid"),
        Step::NoNewPrivileges => ("process.noNewPrivileges", "set"),
        Step::Seccomp => ("linux.seccomp", "install"),
        Step::Listener => ("linux.seccomp.listenerPath", "deliver notifications"),
        Step::Descriptors => ("descriptors", "close on exec"),
        Step::Gate => ("start", "wait for it"),
        Step::Root => ("root", "enter"),
        Step::Streams => ("standard streams", "dup"),
        _ => ("container's process", "talk to it"),
    }
}
