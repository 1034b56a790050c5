//! podloom-oci: a runc-compatible program.

fn main() {}
