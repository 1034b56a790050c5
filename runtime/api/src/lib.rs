//! The Container Runtime Interface (CRI), version 1, as of Kubernetes 1.36: messages, services and
//! their clients, generated from `proto/v1.proto`. No behaviour of its own.

/// Package `runtime.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines,
    reason = "generated; proto/v1.proto has the documentation"
)]
#[rustfmt::skip]
pub mod v1;
