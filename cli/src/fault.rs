//! What went wrong, for people and for programs, and the exit code that tells it.

use cni_types::Code;
use libcni::{Error, Kind, Verb};
use serde_json::{Value, json};
use std::process::ExitCode;

/// A failure of the command.
#[derive(Debug)]
pub(crate) struct Fault {
    code: u8,
    subject: Box<str>,
    cause: Box<str>,
    advice: String,
    /// What the plugin wrote to its standard error.
    stderr: String,
    /// The code of the protocol, where there is one.
    cni_code: Option<u32>,
    also: Vec<Fault>,
}

/// What commands return.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// The command line does not make sense.
    pub(crate) fn usage(subject: &str, cause: impl Into<Box<str>>, advice: &str) -> Fault {
        Fault::new(2, subject, cause).advise(advice)
    }

    pub(crate) fn new(code: u8, subject: impl Into<Box<str>>, cause: impl Into<Box<str>>) -> Fault {
        Fault {
            code,
            subject: subject.into(),
            cause: cause.into(),
            advice: String::new(),
            stderr: String::new(),
            cni_code: None,
            also: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Fault {
        self.advice = advice.into();
        self
    }

    /// Interrupted by a signal.
    pub(crate) fn interrupted() -> Fault {
        Fault::new(130, "interrupted", "what had been begun was undone")
    }

    /// Several faults as one: the first, with the others beside it.
    pub(crate) fn join(faults: Vec<Fault>) -> Option<Fault> {
        let mut faults = faults.into_iter();
        let mut first = faults.next()?;
        first.also.extend(faults);
        Some(first)
    }

    /// Whether this command would end with `code`.
    pub(crate) fn is(&self, code: u8) -> bool {
        self.code == code
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Some lines for people: subject, cause, what to do.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("podloom: {}\n  cause: {}\n", self.subject, self.cause);
        if !self.advice.is_empty() {
            text.push_str(&format!("  do:    {}\n", self.advice));
        }
        for line in self.stderr.lines() {
            text.push_str(&format!("  said:  {line}\n"));
        }
        for other in &self.also {
            text.push_str(&other.text());
        }
        text
    }

    /// The same for programs.
    pub(crate) fn document(&self) -> Value {
        let mut doc = json!({ "subject": self.subject, "cause": self.cause });
        let mut set = |key: &str, value: Value| doc[key] = value;
        if !self.advice.is_empty() {
            set("do", Value::from(self.advice.as_str()));
        }
        if let Some(code) = self.cni_code {
            set("code", Value::from(code));
        }
        if !self.stderr.is_empty() {
            set("stderr", Value::from(self.stderr.as_str()));
        }
        if !self.also.is_empty() {
            set("also", self.also.iter().map(Fault::document).collect());
        }
        doc
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::from(&error)
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Fault {
        let code = match (error.kind(), error.failed_verb(), error.code()) {
            (Kind::Timeout, _, _) => 124,
            (Kind::Cancelled, _, _) => 130,
            (Kind::NoNetwork | Kind::NoPlugin, _, _) => 3,
            (Kind::Cache, _, Code::UnknownContainer) => 3,
            (Kind::Config | Kind::Request, _, _) => 4,
            (Kind::Cache | Kind::State, _, _) => 5,
            (Kind::Plugin, Some(Verb::Status), _) => 6,
            (Kind::Plugin, Some(Verb::Check), _) => 7,
            (Kind::Plugin | Kind::Broken, _, _) => 1,
        };
        let subject = error.subject();
        let subject = if subject.is_empty() { "configuration".to_owned() } else { subject };
        let mut fault = Fault::new(code, subject, error.cause().msg.clone());
        fault.advice.clone_from(&error.cause().details);
        fault.stderr = error.plugin_stderr().to_owned();
        fault.cni_code = Some(error.code().number());
        fault.also = error.also().iter().map(Fault::from).collect();
        fault
    }
}

impl From<std::io::Error> for Fault {
    /// Only printing fails with it.
    fn from(error: std::io::Error) -> Fault {
        Fault::new(1, "standard output", error.to_string())
    }
}
