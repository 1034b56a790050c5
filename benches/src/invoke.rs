//! One measured run of a program, the same way for every contestant.

use crate::error::{About, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt;
use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What is asked of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Check,
    Del,
    Status,
    Gc,
    Version,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Check => "CHECK",
            Verb::Del => "DEL",
            Verb::Status => "STATUS",
            Verb::Gc => "GC",
            Verb::Version => "VERSION",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// From before the process is made until it is reaped and its output is read.
    pub(crate) wall: Duration,
    pub(crate) stdout: String,
    /// Why it failed, if it did.
    pub(crate) failure: Option<String>,
}

/// Runs `command` with `input`, as a caller of plugins does: three pipes, one wait.
pub(crate) fn invoke(command: &mut Command, input: &str) -> Result<Outcome> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let subject = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let mut child = command.spawn().about(&subject)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading its input is judged by its exit code.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().about(&subject)?;
    let wall = start.elapsed();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let failure = (!output.status.success()).then(|| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        format!("{}: {} {}", output.status, one_line(&stdout), one_line(&stderr))
    });
    Ok(Outcome { wall, stdout, failure })
}

/// Waits for `child`, and kills it when it has not ended by itself in time: `None` then. The wait is
/// a plain one, so that looking at a clock costs the child nothing.
pub(crate) fn wait_within(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let pid = Pid::from_raw(child.id().cast_signed());
    let (over, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let late = ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            // It may end by itself right now.
            late.then(|| kill(pid, Signal::SIGKILL)).is_some()
        });
        let status = child.wait().about(format!("process {pid}"));
        drop(over);
        let killed = watch.join().unwrap_or(false);
        Ok(Some(status?).filter(|_| !killed))
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_over_input_and_output() {
        let outcome = invoke(&mut Command::new("cat"), "in and out").unwrap();
        assert_eq!(outcome.stdout, "in and out");
        assert!(outcome.failure.is_none() && outcome.wall > Duration::ZERO);
    }

    #[test]
    fn tells_a_failure_with_both_outputs() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let failure = invoke(&mut command, "").unwrap().failure.unwrap();
        assert!(failure.contains("3: one two"), "{failure}");
    }

    #[test]
    fn a_missing_program_is_an_error() {
        assert!(invoke(&mut Command::new("/nonexistent/program"), "").is_err());
    }

    #[test]
    fn one_that_does_not_end_is_killed() {
        let mut sleep = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(wait_within(&mut sleep, Duration::from_millis(20)).unwrap().is_none());
        let mut quick = Command::new("true").spawn().unwrap();
        assert!(wait_within(&mut quick, Duration::from_secs(20)).unwrap().unwrap().success());
    }
}
