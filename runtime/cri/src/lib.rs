//! The services of the CRI, one file per call; the only room that turns errors into gRPC statuses.
