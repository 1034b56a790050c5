//! The terminal this command is called from.

use crate::fault::{Fault, Result};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::json;
use std::io::{stdin, stdout};

/// A terminal that passes on every key; it is as before when this is dropped.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// Changes the terminal.
    ///
    /// # Errors
    /// Standard input is no terminal.
    pub(super) fn enter() -> Result<Raw> {
        if !isatty(stdin()) {
            let advice = "leave out --tty, or call this from a terminal";
            return Err(Fault::usage("--tty", "standard input is no terminal", advice));
        }
        let failed = |e: rustix::io::Errno| Fault::new(5, "terminal", e.to_string());
        let before = tcgetattr(stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to put back.
        let _gone = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// The terminal's size as the streaming protocols say it.
pub(super) fn size() -> Option<String> {
    let size = tcgetwinsize(stdout()).ok()?;
    Some(json!({ "Width": size.ws_col, "Height": size.ws_row }).to_string())
}
