//! Skips that are seen: a test that could not run is never counted as passed in silence.

use std::fs::OpenOptions;
use std::io::Write;

/// Reports that the calling test does not run, and why; the test returns after it.
///
/// The line goes to stderr, and to the file that `PODLOOM_SKIP_LOG` names, from which `./dev test`
/// prints and counts all skips at its end.
#[allow(clippy::print_stderr, reason = "the report is for people who run the tests")]
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}", thread.name().unwrap_or("test"));
    eprintln!("{line}");
    let Some(log) = std::env::var_os("PODLOOM_SKIP_LOG") else { return };
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .unwrap_or_else(|e| panic!("PODLOOM_SKIP_LOG {}: {e}", log.display()));
    // One write per line: lines of parallel tests do not mix.
    file.write_all(format!("{line}\n").as_bytes()).expect("write PODLOOM_SKIP_LOG");
}

/// Whether this machine is there for the tests alone, as a virtual machine is (`PODLOOM_VM`): they may
/// install services and load profiles then.
pub fn machine_is_for_tests() -> bool {
    std::env::var_os("PODLOOM_VM").is_some_and(|given| given == "1")
}
