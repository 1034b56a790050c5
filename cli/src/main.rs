//! podloom: the operator's command.
fn main() {}
