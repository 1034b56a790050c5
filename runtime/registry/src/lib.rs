//! Image references and the client of OCI registries.
