//! One table of cases that every plugin enters.
