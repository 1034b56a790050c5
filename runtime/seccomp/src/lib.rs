//! Seccomp profiles compiled to filters, kept, and installed.
