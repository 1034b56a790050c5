//! What the tests of the CRI share: a node in namespaces with podloomd on it, and a client.
