//! The daemon's side of a shim: spawn one, attach to one again, ask it.
