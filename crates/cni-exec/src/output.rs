//! What a finished plugin said.

use crate::Verb;
use cni_types::{Code, Error, Result};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// How much of a plugin's unreadable output is quoted, in bytes.
const QUOTE_MAX: usize = 200;

/// A finished plugin's exit status and streams.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, as far as it was captured.
    pub stderr: Vec<u8>,
}

/// The document that `plugin` printed for `verb`, `None` where it printed nothing.
///
/// # Errors
/// The plugin's own error, when it printed one; [`Code::Program`] when it failed without, naming
/// exit code or signal and quoting its output; [`Code::Decode`] when a success is not JSON.
pub fn interpret(plugin: &str, verb: Verb, output: &Output) -> Result<Option<Value>> {
    let text = output.stdout.trim_ascii();
    let document = if text.is_empty() { None } else { Some(serde_json::from_slice(text)) };
    if output.status.success() {
        return match document {
            None => Ok(None),
            Some(Ok(doc)) => Ok(Some(doc)),
            Some(Err(fault)) => Err(Error::new(
                Code::Decode,
                format!("plugin {plugin} {verb}: its output is not JSON: {fault}"),
            )
            .with_details(format!("it begins with {}", quote(text)))),
        };
    }
    if let Some(Ok(doc)) = &document
        && let Some(error) = Error::from_value(doc)
    {
        return Err(error);
    }
    Err(bare_failure(plugin, verb, output))
}

fn bare_failure(plugin: &str, verb: Verb, output: &Output) -> Error {
    let end = match (output.status.code(), output.status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    };
    let mut error = Error::new(
        Code::Program,
        format!("plugin {plugin} {verb}: {end} without an error document"),
    );
    let said: Vec<_> = [("stdout", &output.stdout), ("stderr", &output.stderr)]
        .into_iter()
        .filter(|(_, bytes)| !bytes.trim_ascii().is_empty())
        .map(|(name, bytes)| format!("{name}: {}", quote(bytes.trim_ascii())))
        .collect();
    error.details = said.join("; ");
    error
}

fn quote(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(QUOTE_MAX)];
    let dots = if cut.len() < bytes.len() { "..." } else { "" };
    format!("{:?}{dots}", String::from_utf8_lossy(cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(status: i32, stdout: &str, stderr: &str) -> Output {
        Output {
            status: ExitStatus::from_raw(status),
            stdout: stdout.as_bytes().to_vec(),
            stderr: stderr.as_bytes().to_vec(),
        }
    }

    #[test]
    fn success_is_a_document_or_nothing() {
        let read = |text| interpret("a", Verb::Add, &output(0, text, ""));
        assert_eq!(read(" \n").expect("empty"), None);
        assert_eq!(read("{\"a\":1}\n").expect("doc"), Some(serde_json::json!({"a": 1})));
        let error = read("hello").expect_err("no JSON");
        assert_eq!(error.code, Code::Decode);
        assert!(error.details.contains("hello"));
    }

    #[test]
    fn failures_carry_the_plugins_words() {
        let own = interpret("a", Verb::Del, &output(256, "{\"code\":11,\"msg\":\"later\"}", ""));
        assert_eq!(own.expect_err("own").code, Code::TryAgain);
        let bare = interpret("a", Verb::Del, &output(512, "", "trouble\n")).expect_err("bare");
        assert_eq!(bare.code, Code::Program);
        assert!(bare.msg.contains("code 2"), "{bare}");
        assert!(bare.details.contains("trouble"), "{bare}");
        let killed = interpret("a", Verb::Del, &output(9, "", "")).expect_err("killed");
        assert!(killed.msg.contains("signal 9"), "{killed}");
    }
}
