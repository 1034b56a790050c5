//! CNI configuration lists, plugin chains, result cache and garbage collection.
