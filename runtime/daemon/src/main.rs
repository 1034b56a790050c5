//! podloomd, the CRI server for kubelet.

fn main() {}
