//! Failures of all rooms as gRPC's: the only such map.

use tonic::{Code, Status};

/// Why a call is refused.
#[derive(Debug)]
pub(crate) struct Refusal(Status);

/// What the calls return.
pub(crate) type Result<T> = std::result::Result<T, Refusal>;

impl Refusal {
    /// The request cannot be served as it is written.
    pub(crate) fn invalid(subject: &str, cause: &str) -> Refusal {
        Refusal(Status::invalid_argument(format!("{subject}: {cause}")))
    }

    /// This runtime does not do that.
    pub(crate) fn unimplemented(subject: &str, cause: &str) -> Refusal {
        Refusal(Status::unimplemented(format!("{subject}: {cause}")))
    }

    /// The caller does not wait any more.
    pub(crate) fn cancelled(subject: &str, cause: &str) -> Refusal {
        Refusal(Status::cancelled(format!("{subject}: {cause}")))
    }

    /// A task of this program ended without an answer.
    pub(crate) fn task(subject: &str, cause: &tokio::task::JoinError) -> Refusal {
        Refusal(Status::internal(format!("{subject}: ended without an answer: {cause}")))
    }

    /// The status that clients decide by.
    pub(crate) fn code(&self) -> Code {
        self.0.code()
    }

    /// The text that people read.
    pub(crate) fn message(&self) -> &str {
        self.0.message()
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        refusal.0
    }
}

impl From<sandbox::Error> for Refusal {
    fn from(error: sandbox::Error) -> Refusal {
        use sandbox::Kind;
        let code = match error.kind() {
            Kind::NotFound => Code::NotFound,
            Kind::AlreadyExists => Code::AlreadyExists,
            Kind::Invalid => Code::InvalidArgument,
            Kind::Precondition => Code::FailedPrecondition,
            Kind::Deadline => Code::DeadlineExceeded,
            Kind::Unavailable => Code::Unavailable,
            Kind::Io | Kind::Internal => Code::Internal,
        };
        Refusal(Status::new(code, error.to_string()))
    }
}

impl From<::streaming::Error> for Refusal {
    fn from(error: ::streaming::Error) -> Refusal {
        use ::streaming::Kind;
        let code = match error.kind() {
            Kind::Invalid => Code::InvalidArgument,
            Kind::NotFound => Code::NotFound,
            Kind::Precondition => Code::FailedPrecondition,
            Kind::Exhausted => Code::ResourceExhausted,
            Kind::Deadline => Code::DeadlineExceeded,
            Kind::Io | Kind::Internal => Code::Internal,
        };
        Refusal(Status::new(code, error.to_string()))
    }
}

impl From<::image::Error> for Refusal {
    fn from(error: ::image::Error) -> Refusal {
        use ::image::Kind;
        let code = match error.kind() {
            Kind::NotFound => Code::NotFound,
            Kind::Ambiguous | Kind::Invalid => Code::InvalidArgument,
            Kind::Denied => Code::PermissionDenied,
            Kind::Refused | Kind::InUse | Kind::Config => Code::FailedPrecondition,
            Kind::Unavailable => Code::Unavailable,
            Kind::Mismatch | Kind::Damaged => Code::DataLoss,
            Kind::Full => Code::ResourceExhausted,
            Kind::Cancelled => Code::Cancelled,
            _ => Code::Internal,
        };
        let text = match error.advice() {
            Some(advice) => format!("{error} ({advice})"),
            None => error.to_string(),
        };
        Refusal(Status::new(code, text))
    }
}

impl From<::image::ReferenceError> for Refusal {
    fn from(error: ::image::ReferenceError) -> Refusal {
        ::image::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox::{Error, Kind};

    #[test]
    fn clients_get_the_codes_that_they_decide_by() {
        let code = |kind| Refusal::from(Error::new(kind, "pod x", "why")).code();
        assert_eq!(code(Kind::NotFound), Code::NotFound);
        assert_eq!(code(Kind::AlreadyExists), Code::AlreadyExists);
        assert_eq!(code(Kind::Invalid), Code::InvalidArgument);
        assert_eq!(code(Kind::Precondition), Code::FailedPrecondition);
        assert_eq!(code(Kind::Deadline), Code::DeadlineExceeded);
        assert_eq!(code(Kind::Unavailable), Code::Unavailable);
        assert_eq!(code(Kind::Io), Code::Internal);
    }

    #[test]
    fn subject_cause_and_advice_reach_the_client() {
        let error = Error::new(Kind::Invalid, "pod x", "why").with_advice("do this");
        let status = Status::from(Refusal::from(error));
        assert_eq!(status.message(), "pod x: why (do this)");
        let refused = "Not A Name".parse::<::image::Reference>().map(|_| ()).unwrap_err();
        assert_eq!(Refusal::from(refused).code(), Code::InvalidArgument);
    }
}
