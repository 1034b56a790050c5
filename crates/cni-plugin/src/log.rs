//! What does not fail a call, but somebody may want to know.

use std::fmt::Display;

/// Reports a failure that does not fail the call; `doing` is what the plugin was at.
#[allow(clippy::print_stderr, reason = "standard error is a plugin's log")]
pub fn log<T, E: Display>(doing: impl Display, outcome: Result<T, E>) {
    if let Err(error) = outcome {
        eprintln!("{doing}: {error}");
    }
}
