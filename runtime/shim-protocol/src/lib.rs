//! What the daemon and the shim of a pod say to each other: versioned messages and their frames. No I/O.
