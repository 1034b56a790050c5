//! Pod sandboxes: namespaces, network, files, state.
