//! A network laboratory made of namespaces, for tests.
