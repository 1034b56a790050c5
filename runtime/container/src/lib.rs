//! Containers of pods: from their CRI configuration to a process that runs, and its end.
