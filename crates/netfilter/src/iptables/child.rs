//! Programs that end with the plugin that started them.

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the kernel kill the program when the thread that starts it is gone.
///
/// Without this, a plugin that is killed in the middle of ADD leaves a program behind that adds
/// its rules after the runtime's DEL has looked for them.
#[allow(unsafe_code, reason = "work between fork and exec")]
pub(super) fn ends_with_its_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: the closure runs in the forked child before exec. It makes two system calls, prctl
    // and getppid, which are async-signal-safe, and neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // Gone before the request: then no signal will come.
            if nix::unistd::getppid().as_raw().unsigned_abs() == parent {
                Ok(())
            } else {
                Err(nix::errno::Errno::ESRCH.into())
            }
        });
    }
}
