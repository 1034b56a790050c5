//! Processes that nothing ends when this program is told to stop: plugins that run with a limit, and
//! programs that run as long as a lab. Each leads a process group of its own.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Running {
    groups: BTreeSet<i32>,
    /// Set when the program is told to stop: from then on nothing is begun.
    over: bool,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { groups: BTreeSet::new(), over: false });

/// Notes a process. Does not return when the program is about to stop.
pub(crate) fn begun(child: &Child) {
    let group = child.id().cast_signed();
    let over = {
        let mut running = running();
        running.groups.insert(group);
        running.over
    };
    if over {
        end_group(group);
    }
    hold_if_over();
}

/// Forgets a process, which has ended. Does not return when the program is about to stop: then it
/// has been killed, and its caller would take that for an answer.
pub(crate) fn ended(child: u32) {
    running().groups.remove(&child.cast_signed());
    hold_if_over();
}

/// Kills a process with its group, and waits for it.
pub(crate) fn end(child: &mut Child) {
    end_group(child.id().cast_signed());
    let _status = child.wait();
    running().groups.remove(&child.id().cast_signed());
}

/// Kills all of them, before the program stops.
pub(crate) fn end_all() {
    let groups = {
        let mut running = running();
        running.over = true;
        std::mem::take(&mut running.groups)
    };
    groups.into_iter().for_each(end_group);
}

/// Waits for the program's end when it is about to stop.
pub(crate) fn hold_if_over() {
    while running().over {
        std::thread::park();
    }
}

fn end_group(group: i32) {
    // One that has just ended by itself is what is wanted.
    let _ended = killpg(Pid::from_raw(group), Signal::SIGKILL);
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
