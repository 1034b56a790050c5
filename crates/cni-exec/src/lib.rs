//! Find and run a CNI plugin.
