//! Images of this node: pulled, imported, exported, found, removed.
