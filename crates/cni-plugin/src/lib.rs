//! The frame every CNI plugin runs in.
