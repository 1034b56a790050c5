//! Network namespaces: the only place that enters one.
