//! What runs in a fresh process, between clone3 and execve: system calls only, no memory is
//! allocated, so the parent may have threads.

mod become_process;
mod home;
mod init;
mod join;

pub(crate) use become_process::Tail;
pub(crate) use init::{Init, Late, errno};
pub(crate) use join::Exec;

use crate::sync::{self, Fault, Word};
use rustix::fd::BorrowedFd;

/// What a child's work comes to: it never comes back when all is well.
pub(crate) type Outcome = std::result::Result<std::convert::Infallible, Fault>;

/// Exit status of a child that failed; its parent knows the reason.
const FAILED: i32 = 1;

/// Tells the failure to whoever listens.
pub(crate) fn report(socket: BorrowedFd<'_>, fault: Fault) -> i32 {
    report_with(socket, fault, None)
}

/// The same, with the file that holds what a hook said of it.
fn report_with(socket: BorrowedFd<'_>, fault: Fault, said: Option<BorrowedFd<'_>>) -> i32 {
    // Nobody is left to be told when this fails.
    let _ = sync::send(socket, &Word::Failed(fault).to_bytes(), said);
    FAILED
}
