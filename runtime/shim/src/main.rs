//! podloom-shim, one process per pod.

fn main() {}
