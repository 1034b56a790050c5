//! Entering a group: from inside, from birth, beside another process; and what it costs.
#![allow(unsafe_code, reason = "clone3 and pre_exec have no safe form")]
#![allow(clippy::unwrap_used, reason = "a test's own helpers fail the test")]

mod support;

use cgroup::{Cgroup, Joiner};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{SOON, create, end, until};

/// `struct clone_args` of linux/sched.h, the form of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a child that is born in the v2 group, joins the rest, and sleeps; -1 when refused.
fn born(joiner: &Joiner) -> i32 {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let dir = joiner.clone_into();
    let mut args = CloneArgs {
        flags: if dir.is_some() { CLONE_INTO_CGROUP } else { 0 },
        exit_signal: libc::SIGCHLD as u64,
        cgroup: dir.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    // SAFETY: as fork: the child shares no memory, and makes only calls that are safe after fork.
    unsafe {
        let pid = libc::syscall(libc::SYS_clone3, &mut args, size_of::<CloneArgs>());
        if pid == 0 {
            if joiner.join(dir.is_some()).is_err() {
                libc::_exit(1);
            }
            libc::pause();
            libc::_exit(0);
        }
        pid as i32
    }
}

fn reap(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
}

/// Whether a process is in every tree of the group.
fn inside(group: &Cgroup, pid: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = group.paths().places[0].path.to_string();
    text.lines().filter(|l| l.ends_with(&path)).count() == group.paths().places.len()
}

#[test]
fn a_child_is_born_inside() {
    let group = create("born");
    let joiner = group.joiner().unwrap();
    let pid = born(&joiner);
    assert!(pid > 0, "{}", std::io::Error::last_os_error());
    until("it is in all trees", || inside(&group, pid.cast_unsigned()));
    assert_eq!(group.pids().unwrap(), [pid.cast_unsigned()]);
    group.kill(SOON).unwrap();
    reap(pid);
    group.destroy(SOON).unwrap();
}

#[test]
fn a_child_joins_before_it_runs_its_program() {
    let group = create("joins");
    let joiner = group.joiner().unwrap();
    let mut command = Command::new("sleep");
    command.arg("100");
    // SAFETY: `join` makes only system calls that are safe after fork, and allocates nothing.
    unsafe { command.pre_exec(move || joiner.join(false)) };
    let child = command.spawn().unwrap();
    assert!(inside(&group, child.id()));
    end(&group, child);
}

#[test]
fn a_further_process_goes_where_the_first_has_gone() {
    let group = create("beside");
    if group.paths().places.len() > 1 {
        group.destroy(SOON).unwrap();
        return lab::skip("cgroup v2 alone: not on this machine");
    }
    // As systemd inside of a container does: all processes below, controllers passed down.
    let dir = group.paths().places[0].dir();
    let first = support::run_in(&group, "exec sleep 100");
    std::fs::create_dir(dir.join("init")).unwrap();
    std::fs::write(dir.join("init/cgroup.procs"), first.id().to_string()).unwrap();
    std::fs::write(dir.join("cgroup.subtree_control"), "+memory").unwrap();
    assert_eq!(born(&group.joiner().unwrap()), -1, "the group takes no process");
    let second = born(&group.joiner_beside(first.id()).unwrap());
    assert!(second > 0, "{}", std::io::Error::last_os_error());
    assert_eq!(group.pids().unwrap().len(), 2);
    group.kill(SOON).unwrap();
    reap(second);
    end(&group, first);
}

/// The time from before a process is made until it is in the group; the group is then removed.
fn cost(name: &str, enter: impl FnOnce(&Cgroup) -> i32) -> Duration {
    // Grace periods that follow each other closely are cheaper than the first.
    std::thread::sleep(Duration::from_millis(30));
    let group = create(name);
    let start = Instant::now();
    let pid = enter(&group);
    while !inside(&group, pid.cast_unsigned()) {
        std::thread::yield_now();
    }
    let took = start.elapsed();
    group.kill(SOON).unwrap();
    reap(pid);
    group.destroy(SOON).unwrap();
    took
}

#[test]
fn joining_waits_for_nobody() {
    let fast = || cost("fast", |group| born(&group.joiner().unwrap()));
    let slow = || {
        cost("slow", |group| {
            let nowhere = Cgroup::load(cgroup::Paths::default());
            let pid = born(&nowhere.joiner().unwrap());
            group.add(pid.cast_unsigned()).unwrap();
            pid
        })
    };
    let mut seen = Vec::new();
    // The machine may be busy with other things: one quiet moment is enough.
    for _ in 0..6 {
        let best = |one: &dyn Fn() -> Duration| (0..4).map(|_| one()).min().unwrap();
        let (fast, slow) = (best(&fast), best(&slow));
        if fast < slow * 3 / 4 {
            return;
        }
        seen.push((fast, slow));
    }
    if seen.iter().all(|(_, slow)| *slow < Duration::from_millis(3)) {
        return lab::skip("joining: this kernel lets nobody wait (favordynmods)");
    }
    panic!("joining is no faster than moving a process: {seen:?}");
}
