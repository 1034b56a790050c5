//! How the demo is told: one line for each step, with the time it took.

use crate::args::Form;
use crate::fault::{Fault, Result};
use crate::print;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The teller of the steps.
#[derive(Debug)]
pub(super) struct Telling {
    form: Option<Form>,
    stop: Arc<AtomicBool>,
    steps: Vec<Value>,
}

impl Telling {
    /// `stop` is set when the demo is to end before its next step.
    pub(super) fn new(form: Option<Form>, stop: Arc<AtomicBool>) -> Telling {
        Telling { form, stop, steps: Vec::new() }
    }

    fn is_json(&self) -> bool {
        self.form == Some(Form::Json)
    }

    /// Runs one step and tells how it went.
    pub(super) fn step<T>(
        &mut self,
        what: &str,
        work: impl FnOnce() -> Result<(T, String)>,
    ) -> Result<T> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Fault::interrupted());
        }
        let begin = Instant::now();
        let outcome = work();
        let took = begin.elapsed();
        self.told(what, took, outcome.as_ref().ok().map(|(_, detail)| detail.as_str()))?;
        outcome.map(|(value, _)| value)
    }

    /// Tells one step; it failed if there is no detail.
    fn told(&mut self, what: &str, took: Duration, detail: Option<&str>) -> Result<()> {
        let took = took.as_secs_f64() * 1000.0;
        let number = self.steps.len() + 1;
        let mark = if detail.is_some() { "ok" } else { "FAILED" };
        let text = detail.unwrap_or_default();
        self.steps.push(json!({
            "step": what, "ms": (took * 10.0).round() / 10.0, "ok": detail.is_some(), "detail": text,
        }));
        if self.is_json() {
            return Ok(());
        }
        let mut lines = format!("{number:>3}  {what:<66} {took:>8.1} ms  {mark}\n");
        for line in text.lines() {
            lines.push_str(&format!("       {line}\n"));
        }
        print::out(&lines)
    }

    /// Tells people something between the steps.
    pub(super) fn say(&self, text: &str) -> Result<()> {
        if self.is_json() { Ok(()) } else { print::out(&format!("{text}\n")) }
    }

    /// Tells programs the whole at the end.
    pub(super) fn end(&self, outcome: &Result<()>) -> Result<()> {
        if !self.is_json() {
            return Ok(());
        }
        print::json(&json!({ "ok": outcome.is_ok(), "steps": self.steps }))
    }
}
