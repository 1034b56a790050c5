//! An OCI runtime as a library, and podloom-oci, its program.
