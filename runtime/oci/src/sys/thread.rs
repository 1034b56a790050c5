//! A second thread for the moment in which a filter of system calls comes into force.
#![allow(
    unsafe_code,
    reason = "a thread without the C library's help, in a child that must not allocate"
)]

use super::last;
use rustix::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use rustix::io::{Errno, Result};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// Nothing has happened yet.
const NONE: i32 = -1;
/// There will be no descriptor.
const FAILED: i32 = -2;
/// How long the two wait for each other.
const LIMIT: Duration = Duration::from_secs(5);

/// What the two threads share.
struct Shared<'a> {
    listener: AtomicI32,
    delivered: AtomicI32,
    deliver: &'a dyn Fn(BorrowedFd<'_>) -> i32,
}

/// Installs a filter whose notifications go to an agent. `deliver` gets the descriptor of the
/// notifications in a thread that the filter does not bind: it may forbid, or hand to the very agent,
/// the calls by which the descriptor is sent. The calling thread makes no call meanwhile.
pub(crate) fn install_and_deliver(
    install: &dyn Fn() -> Result<Option<OwnedFd>>,
    deliver: &dyn Fn(BorrowedFd<'_>) -> i32,
) -> Result<()> {
    let shared =
        Shared { listener: AtomicI32::new(NONE), delivered: AtomicI32::new(NONE), deliver };
    start(&shared)?;
    let installed = install();
    let listener = match installed {
        // Closed by exec, not here: closing may be a call that the filter stops.
        Ok(fd) => fd.map_or(FAILED, IntoRawFd::into_raw_fd),
        Err(errno) => {
            shared.listener.store(FAILED, Ordering::Release);
            return Err(errno);
        }
    };
    shared.listener.store(listener, Ordering::Release);
    let until = Instant::now() + LIMIT;
    loop {
        match shared.delivered.load(Ordering::Acquire) {
            0 => return Ok(()),
            NONE if Instant::now() < until => std::hint::spin_loop(),
            NONE => return Err(Errno::TIMEDOUT),
            _ => return Err(Errno::PIPE),
        }
    }
}

/// Starts the thread. It ends before its process becomes another program, or by that.
fn start(shared: &Shared<'_>) -> Result<()> {
    const STACK: usize = 128 << 10;
    extern "C" fn enter(argument: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the starter keeps what is shared until we have stored the outcome, or until the
        // process ends.
        let shared = unsafe { &*argument.cast::<Shared<'_>>() };
        let outcome = await_listener(shared);
        shared.delivered.store(outcome, Ordering::Release);
        0
    }
    let (prot, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping that nobody else knows; exec frees it.
    let stack = unsafe { libc::mmap(std::ptr::null_mut(), STACK, prot, kind, -1, 0) };
    if stack == libc::MAP_FAILED {
        return Err(last());
    }
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    let argument = std::ptr::from_ref(shared).cast_mut().cast();
    // SAFETY: the stack is ours and grows down from its end. The thread shares the C library's
    // thread-local memory with its starter, and calls nothing that uses it.
    let thread = unsafe { libc::clone(enter, stack.byte_add(STACK), flags, argument) };
    if thread < 0 { Err(last()) } else { Ok(()) }
}

fn await_listener(shared: &Shared<'_>) -> i32 {
    let until = Instant::now() + LIMIT;
    let pause = rustix::thread::Timespec { tv_sec: 0, tv_nsec: 50_000 };
    loop {
        match shared.listener.load(Ordering::Acquire) {
            NONE if Instant::now() < until => {
                // Interrupted or not, it looks again.
                let _ = rustix::thread::nanosleep(&pause);
            }
            NONE | FAILED => return 1,
            // SAFETY: the starter owns the descriptor and keeps it open until exec.
            number => return (shared.deliver)(unsafe { BorrowedFd::borrow_raw(number) }),
        }
    }
}
