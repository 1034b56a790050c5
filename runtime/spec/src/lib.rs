//! The configuration, state and features of OCI runtime-spec 1.3 as types.
