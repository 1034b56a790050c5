//! A trial: all cases, some at a time.

use crate::options::Options;
use conformance::report::{Entry, Report};
use conformance::{About, Error, Given, judge, machine};
use nix::sys::signal::{SigSet, Signal};
use std::panic::{set_hook, take_hook};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Without these the state of a node cannot be seen.
const PROGRAMS: [&str; 5] = ["ip", "bridge", "nft", "iptables-save", "ip6tables-save"];

/// Puts the cases to the plugin.
pub(crate) fn trial(options: &Options) -> Result<Report, Error> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::new("network namespaces", "making them needs root"));
    }
    let missing = machine::missing(&PROGRAMS);
    if !missing.is_empty() {
        let cause = "not installed; Debian has them in iproute2, nftables and iptables";
        return Err(Error::new(missing.join(", "), cause));
    }
    let config = read(&options.config)?;
    let config = serde_json::from_str(&config)
        .map_err(|cause| Error::new(options.config.display(), cause))?;
    let about = match &options.about {
        Some(path) => About::read(&path.display().to_string(), &read(path)?)?,
        None => About::default(),
    };
    leave_nothing_when_told_to_stop()?;
    // A failed case is a panic that `judge` tells of; nobody wants to read it twice.
    let usual = take_hook();
    set_hook(Box::new(|_| {}));
    let given = Given::new(&options.place, &config, &about);
    let report = given.map(|given| Report {
        plugin: options.place.plugin.display().to_string(),
        version: given.subject.version().to_string(),
        entries: entries(options, &given),
        notes: given.notes,
    });
    set_hook(usual);
    report
}

fn entries(options: &Options, given: &Given) -> Vec<Entry> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.min(options.cases.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = options.cases.get(number) else { return };
                    let start = Instant::now();
                    let verdict = judge(case, &given.subject);
                    let entry = Entry { case: *case, verdict, took: start.elapsed() };
                    let mut done = done.lock().unwrap_or_else(|held| held.into_inner());
                    done.push((number, entry));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|held| held.into_inner());
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, entry)| entry).collect()
}

/// SIGINT and SIGTERM end the program as before, but not before its namespaces and directories are
/// gone.
fn leave_nothing_when_told_to_stop() -> Result<(), Error> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Threads that are started from here on have them blocked; only the one below takes them.
    signals.thread_block().map_err(|cause| Error::new("signals", cause))?;
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            lab::abandon();
            std::process::exit(128 + signal as i32);
        }
    });
    Ok(())
}

fn read(path: &std::path::Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|cause| Error::new(path.display(), cause))
}
