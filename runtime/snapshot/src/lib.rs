//! Snapshots of file systems made of layers.
