//! The log in runc's two forms: callers read its last line to learn why a command failed.

use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where messages go.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) path: Option<PathBuf>,
    pub(super) json: bool,
    pub(super) debug: bool,
}

impl Log {
    /// A message that needs no action.
    pub(super) fn debug(&self, message: &str) {
        if self.debug {
            self.write("debug", message);
        }
    }

    /// A message that may.
    pub(super) fn warn(&self, message: &str) {
        self.write("warning", message);
    }

    /// Why the command failed; on standard error too.
    pub(super) fn error(&self, message: &str) {
        self.write("error", message);
        if self.path.is_some() {
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }

    /// Nowhere is left to tell of a log that cannot be written.
    fn write(&self, level: &str, message: &str) {
        let now = timestamp(
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            None,
        );
        let line = if self.json {
            let line = serde_json::json!({"level": level, "msg": message, "time": now});
            format!("{line}\n")
        } else {
            format!("time=\"{now}\" level={level} msg={message:?}\n")
        };
        let _ = match &self.path {
            None => std::io::stderr().write_all(line.as_bytes()),
            Some(path) => std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .and_then(|mut file| file.write_all(line.as_bytes())),
        };
    }
}

/// A time in the form of RFC 3339, in UTC.
pub(super) fn timestamp(seconds: u64, nanos: Option<u32>) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days are counted in eras of 400 years that begin in March, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let fraction = nanos.map(|nanos| format!(".{nanos:09}")).unwrap_or_default();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(timestamp(0, None), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_782_400, None), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(1_795_527_749, Some(5)), "2026-11-24T13:42:29.000000005Z");
    }
}
