//! Killing a process with everything that descends from it, and knowing a process again.

use nix::sys::signal::{Signal, kill as signal_one, killpg};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;

/// How often descendants are looked for anew: each round finds what the last one's processes
/// started before they were stopped.
const ROUNDS: u32 = 8;

/// One process: its number, and its start in clock ticks since boot, which tells it from a later
/// process of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) start: u64,
}

impl Process {
    /// The process with this number, if there is one.
    pub(crate) fn find(pid: u32) -> Option<Process> {
        Some(Process { pid, start: stat(pid)?.start })
    }

    /// Whether it is still there, and no zombie.
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|s| s.start == self.start && s.state != 'Z')
    }
}

struct Stat {
    state: char,
    parent: u32,
    start: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything, further parentheses too.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, start })
}

/// All processes that descend from `root`, without it.
fn descendants(root: u32) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for pid in entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(Process { pid, start: stat.start });
        }
    }
    let mut found: Vec<Process> = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            open.push(child.pid);
            found.push(child);
        }
    }
    found
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().filter(|n| *n > 1).map(Pid::from_raw)
}

fn send(process: Process, signal: Signal) {
    if let Some(pid) = pid(process.pid)
        && process.is_alive()
    {
        // It may end in between: then there is nothing left to do.
        let _gone = signal_one(pid, signal);
    }
}

/// Kills the process group led by `leader`, and those descendants that left it.
///
/// `leader` must not be reaped yet, as its number could name another process then.
pub(crate) fn kill(leader: u32) {
    let Some(group) = pid(leader) else { return };
    // Stopped first, so that none escapes by forking while its family is looked up.
    let _gone = killpg(group, Signal::SIGSTOP);
    let mut family: Vec<Process> = Vec::new();
    for _ in 0..ROUNDS {
        let mut new = descendants(leader);
        new.retain(|p| !family.contains(p));
        if new.is_empty() {
            break;
        }
        new.iter().for_each(|p| send(*p, Signal::SIGSTOP));
        family.extend(new);
    }
    let _gone = killpg(group, Signal::SIGKILL);
    family.into_iter().for_each(|p| send(p, Signal::SIGKILL));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[test]
    fn children_in_other_sessions_die_too() {
        let script = "sleep 1000 & setsid sh -c 'echo $$; exec sleep 1000' & wait";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().expect("sh");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout");
        BufReader::new(stdout).read_line(&mut line).expect("line");
        let grandchild = Process::find(line.trim().parse().expect("pid")).expect("running");
        assert!(grandchild.is_alive());
        let family = descendants(child.id());
        assert_eq!(family.len(), 2);
        kill(child.id());
        child.wait().expect("killed");
        // A killed process is a zombie or gone as soon as its signal is delivered.
        let mut left = family;
        for _ in 0..200 {
            left.retain(|p| p.is_alive());
            if left.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("still there: {left:?}");
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let me = Process::find(std::process::id()).expect("me");
        assert!(me.is_alive());
        assert!(!Process { start: me.start + 1, ..me }.is_alive());
        assert_eq!(Process::find(u32::MAX), None);
    }
}
