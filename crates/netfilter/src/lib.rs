//! Masquerade, port-mapping rules and conntrack through nftables and iptables.
