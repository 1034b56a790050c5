//! SIGKILL at every point.

use crate::{Subject, Trial};
use lab::Kill;
use std::os::unix::fs::PermissionsExt;

/// More than any plugin makes.
const MOST_CALLS: u32 = 20_000;

/// A killed ADD is followed by DEL or by GC, in turn, and then nothing is left; an ADD that is
/// run again instead, as some runtimes do after DEL, works.
pub(crate) fn sigkill_at_any_point_of_add(subject: &Subject) {
    let trial = Trial::new(subject, "kill-add");
    // The first call that the tracer counts is the one that starts the plugin.
    let mut call = 2;
    let mut by_gc = false;
    loop {
        let plugin = trial.plugin().kill(Kill::AtSyscall(call));
        let outcome = plugin.add(&trial.a.pod, subject.ifname, &trial.a.conf);
        if outcome.success() {
            assert!(call > 2, "{}: nothing was killed", subject.name);
            break;
        }
        assert!(outcome.killed(), "{}: at system call {call}: {outcome}", subject.name);
        let cleaned = if by_gc && subject.collects { trial.gc(&[]) } else { trial.del(&trial.a) };
        assert!(cleaned.success(), "{}: at system call {call}: {cleaned}", subject.name);
        trial.nothing_left(&format!("ADD killed at system call {call}, {}", cleaned.what));
        by_gc = !by_gc;
        call += step(subject);
        assert!(call < MOST_CALLS, "{}: ADD does not end", subject.name);
    }
    trial.del(&trial.a).ok();
    trial.nothing_left("the whole ADD, DEL");
    let result = trial.add(&trial.a).ok();
    trial.check(&trial.a, &result).ok();
}

/// A killed DEL is followed by another one, with the namespace gone for the rules' sake every
/// second time not known any more.
pub(crate) fn sigkill_at_any_point_of_del(subject: &Subject) {
    let trial = Trial::new(subject, "kill-del");
    let mut call = 2;
    let mut by_gc = false;
    loop {
        trial.add(&trial.a).ok();
        let plugin = trial.plugin().kill(Kill::AtSyscall(call));
        let outcome = plugin.del(&trial.a.pod, subject.ifname, &trial.a.conf);
        if outcome.success() {
            assert!(call > 2, "{}: nothing was killed", subject.name);
            break;
        }
        assert!(outcome.killed(), "{}: at system call {call}: {outcome}", subject.name);
        let cleaned = if by_gc && subject.collects { trial.gc(&[]) } else { trial.del(&trial.a) };
        assert!(cleaned.success(), "{}: at system call {call}: {cleaned}", subject.name);
        trial.nothing_left(&format!("DEL killed at system call {call}, {}", cleaned.what));
        by_gc = !by_gc;
        // DEL is the shorter and the second to be looked at: a third of the points.
        call += step(subject) * 3;
        assert!(call < MOST_CALLS, "{}: DEL does not end", subject.name);
    }
    trial.nothing_left("the whole DEL");
}

/// An IPAM plugin that is killed at any point of its ADD: the ADD fails, names it, and has undone
/// its own part and that of the IPAM plugin.
pub(crate) fn sigkill_of_the_ipam_plugin(subject: &Subject) {
    let ipam = subject.needs.ipam.unwrap_or_default();
    let trial = Trial::new(subject, "kill-ipam");
    let dir = trial.lab.tmp_dir();
    let mut call = 2;
    loop {
        // The tracer is not in between (-D): the plugin stays its caller's child.
        let script = format!(
            "#!/bin/sh\n[ \"$CNI_COMMAND\" = ADD ] || exec {real}\n\
             exec strace -D -o /dev/null -e inject=all:signal=KILL:when={call} -- {real}\n",
            real = subject.maker.program(ipam).display()
        );
        let wrapper = dir.join(ipam);
        std::fs::write(&wrapper, script).expect("a wrapper");
        std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).expect("chmod");
        let path = dir.to_string_lossy().into_owned();
        let plugin = trial.plugin().env("CNI_PATH", path);
        let outcome = plugin.add(&trial.a.pod, subject.ifname, &trial.a.conf);
        if outcome.success() {
            assert!(call > 2, "{}: nothing was killed", subject.name);
            break;
        }
        trial.refused(&outcome, trial.own(104), ipam, trial.version().as_str());
        trial.nothing_left(&format!("{ipam} killed at system call {call}"));
        call += step(subject) * 5;
        assert!(call < MOST_CALLS, "{}: ADD does not end", subject.name);
    }
    trial.del(&trial.a).ok();
    trial.nothing_left("the whole ADD, DEL");
}

/// From one point to the next, in system calls: as the subject says, times `PODLOOM_SWEEP`, for
/// machines on which each call takes long.
fn step(subject: &Subject) -> u32 {
    let factor = std::env::var("PODLOOM_SWEEP").ok().and_then(|text| text.parse().ok());
    subject.sweep * factor.unwrap_or(1).max(1)
}
