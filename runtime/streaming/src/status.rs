//! How a command's outcome is told to its client.

use crate::Error;
use serde_json::json;

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// As wished; of an attached process this is all that is told.
    Success,
    /// The command ended with this code, which is not zero.
    Exited(i32),
    /// It could not be run, or not to its end.
    Failed(Error),
}

impl Outcome {
    /// As a `Status` of `meta/v1`, for version 4 on.
    pub(crate) fn object(&self) -> Vec<u8> {
        let status = match self {
            Outcome::Success => json!({ "metadata": {}, "status": "Success" }),
            Outcome::Exited(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": exited(*code),
                "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            }),
            Outcome::Failed(error) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {error}"),
                "reason": "InternalError",
                "details": { "causes": [{ "message": error.to_string() }] },
                "code": 500,
            }),
        };
        status.to_string().into_bytes()
    }

    /// As text, for the versions before; nothing if there is nothing to complain about.
    pub(crate) fn text(&self) -> Option<Vec<u8>> {
        match self {
            Outcome::Success => None,
            Outcome::Exited(code) => Some(exited(*code).into_bytes()),
            Outcome::Failed(error) => Some(error.to_string().into_bytes()),
        }
    }
}

fn exited(code: i32) -> String {
    format!("command terminated with non-zero exit code {code}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use serde_json::Value;

    fn object(outcome: &Outcome) -> Value {
        serde_json::from_slice(&outcome.object()).unwrap()
    }

    #[test]
    fn clients_find_the_exit_code_among_the_causes() {
        let status = object(&Outcome::Exited(3));
        assert_eq!(status["status"], "Failure");
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0]["reason"], "ExitCode");
        assert_eq!(status["details"]["causes"][0]["message"], "3");
    }

    #[test]
    fn failures_are_internal_errors_with_their_cause() {
        let status = object(&Outcome::Failed(Error::new(Kind::Internal, "c1", "no such file")));
        assert_eq!(status["reason"], "InternalError");
        assert_eq!(status["message"], "Internal error occurred: c1: no such file");
        assert_eq!(status["code"], 500);
    }

    #[test]
    fn success_is_silent_in_old_versions() {
        assert_eq!(object(&Outcome::Success)["status"], "Success");
        assert_eq!(Outcome::Success.text(), None);
        assert!(Outcome::Exited(1).text().is_some());
    }
}
