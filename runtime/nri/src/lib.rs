//! The node resource interface: plugins that see and adjust pods and containers.
