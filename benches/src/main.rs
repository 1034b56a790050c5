//! Benchmarks beside the reference plugins.
fn main() {}
