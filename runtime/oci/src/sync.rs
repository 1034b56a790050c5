//! What parent and child tell each other while a process is made. Nothing here allocates.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::mem::MaybeUninit;

/// What a child was doing when it failed, or what it has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    /// Speaking with its parent.
    Sync = 1,
    Join,
    Clone,
    Identity,
    Cgroup,
    Namespaces,
    TimeOffsets,
    Session,
    Loopback,
    HostName,
    DomainName,
    Sysctl,
    Hook,
    OomScore,
    Terminal,
    ConsoleSocket,
    AppArmor,
    Selinux,
    Personality,
    MemoryPolicy,
    IoPriority,
    Scheduler,
    Affinity,
    Limit,
    Directory,
    OutsideDirectory,
    Program,
    Executable,
    Groups,
    Group,
    User,
    Bounding,
    Capabilities,
    Ambient,
    NoNewPrivileges,
    Seccomp,
    Listener,
    Descriptors,
    Gate,
    Exec,
    HookStatus,
    HookTimeout,
    Root,
    Streams,
}

const STEPS: [Step; 44] = {
    use Step::*;
    [
        Sync,
        Join,
        Clone,
        Identity,
        Cgroup,
        Namespaces,
        TimeOffsets,
        Session,
        Loopback,
        HostName,
        DomainName,
        Sysctl,
        Hook,
        OomScore,
        Terminal,
        ConsoleSocket,
        AppArmor,
        Selinux,
        Personality,
        MemoryPolicy,
        IoPriority,
        Scheduler,
        Affinity,
        Limit,
        Directory,
        OutsideDirectory,
        Program,
        Executable,
        Groups,
        Group,
        User,
        Bounding,
        Capabilities,
        Ambient,
        NoNewPrivileges,
        Seccomp,
        Listener,
        Descriptors,
        Gate,
        Exec,
        HookStatus,
        HookTimeout,
        Root,
        Streams,
    ]
};

/// Why a child could not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A step of this crate: which one of several, and the kernel's answer.
    Step(Step, u32, Errno),
    /// A step of the file system.
    Root(rootfs::Failure),
}

impl From<rootfs::Failure> for Fault {
    fn from(failure: rootfs::Failure) -> Fault {
        Fault::Root(failure)
    }
}

/// Names the step of a failure.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> std::result::Result<T, Fault>;
    fn nth(self, step: Step, index: usize) -> std::result::Result<T, Fault>;
}

impl<T> At<T> for Result<T> {
    fn at(self, step: Step) -> std::result::Result<T, Fault> {
        self.nth(step, 0)
    }

    fn nth(self, step: Step, index: usize) -> std::result::Result<T, Fault> {
        self.map_err(|errno| Fault::Step(step, index as u32, errno))
    }
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Parent: go on.
    Go,
    /// Child: the mounts are made, hooks may run.
    Mounted,
    /// Child: here is the terminal.
    Terminal,
    /// Child: all is set up; it waits for its start.
    Ready,
    /// Child: it failed.
    Failed(Fault),
}

/// Longest message.
pub(crate) const SIZE: usize = 16;

impl Word {
    pub(crate) fn to_bytes(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        match self {
            Word::Go => bytes[0] = b'g',
            Word::Mounted => bytes[0] = b'm',
            Word::Terminal => bytes[0] = b't',
            Word::Ready => bytes[0] = b'r',
            Word::Failed(Fault::Step(step, index, errno)) => {
                bytes[0] = b'f';
                bytes[1] = step as u8;
                bytes[4..8].copy_from_slice(&index.to_le_bytes());
                bytes[8..12].copy_from_slice(&errno.raw_os_error().to_le_bytes());
            }
            Word::Failed(Fault::Root(failure)) => {
                bytes[0] = b'F';
                bytes[4..].copy_from_slice(&failure.to_bytes());
            }
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; SIZE]) -> Option<Word> {
        let number = |at: usize| {
            let mut four = [0; 4];
            four.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(four)
        };
        Some(match bytes[0] {
            b'g' => Word::Go,
            b'm' => Word::Mounted,
            b't' => Word::Terminal,
            b'r' => Word::Ready,
            b'f' => {
                let step = *STEPS.get(usize::from(bytes[1]).checked_sub(1)?)?;
                let errno = crate::sys::errno(number(8) as i32);
                Word::Failed(Fault::Step(step, number(4), errno))
            }
            b'F' => {
                let mut rest = [0; rootfs::Failure::SIZE];
                rest.copy_from_slice(&bytes[4..]);
                Word::Failed(Fault::Root(rootfs::Failure::from_bytes(rest)?))
            }
            _ => return None,
        })
    }
}

/// A pair of connected sockets that keep messages apart.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let (unix, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socketpair(unix, kind, SocketFlags::CLOEXEC, None)
}

/// Says a word.
pub(crate) fn say(socket: BorrowedFd<'_>, word: Word) -> Result<()> {
    send(socket, &word.to_bytes(), None)
}

/// Sends bytes, and a descriptor when there is one.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let mut left = bytes;
    loop {
        let parts = [IoSlice::new(left)];
        match rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) if sent >= left.len() => return Ok(()),
            Ok(sent) => left = &left[sent..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Hears a word; `None` when the other side is gone.
pub(crate) fn hear(socket: BorrowedFd<'_>) -> Result<Option<(Word, Option<OwnedFd>)>> {
    let mut bytes = [0; SIZE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let heard = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(socket, &mut parts, &mut control, flags) {
            Err(Errno::INTR) => {}
            // The other side ended with something of ours unread.
            Err(Errno::CONNRESET) => return Ok(None),
            other => break other?,
        }
    };
    if heard.bytes == 0 {
        return Ok(None);
    }
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            fd = fds.last().or(fd);
        }
    }
    let whole = heard.bytes == SIZE && !heard.flags.contains(ReturnFlags::TRUNC);
    let word = Word::from_bytes(&bytes).filter(|_| whole).ok_or(Errno::BADMSG)?;
    Ok(Some((word, fd)))
}

/// Waits for leave to go on.
pub(crate) fn wait(socket: BorrowedFd<'_>) -> std::result::Result<(), Fault> {
    match hear(socket.as_fd()).at(Step::Sync)? {
        Some((Word::Go, _)) => Ok(()),
        // The parent is gone: this process has nothing to be made for.
        _ => Err(Fault::Step(Step::Sync, 0, Errno::PIPE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_wire() {
        for (index, step) in STEPS.iter().enumerate() {
            assert_eq!(*step as usize, index + 1);
            let word = Word::Failed(Fault::Step(*step, 7, Errno::PERM));
            assert_eq!(Word::from_bytes(&word.to_bytes()), Some(word));
        }
        for word in [Word::Go, Word::Mounted, Word::Terminal, Word::Ready] {
            assert_eq!(Word::from_bytes(&word.to_bytes()), Some(word));
        }
        assert_eq!(Word::from_bytes(&[b'f'; SIZE]), None);
        assert_eq!(Word::from_bytes(&[0; SIZE]), None);
    }
}
