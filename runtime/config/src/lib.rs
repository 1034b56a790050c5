//! The configuration of podloomd.
