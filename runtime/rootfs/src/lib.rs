//! A container's file system: planned by its parent, mounted by itself.
