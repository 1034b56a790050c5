//! Masquerade, port-mapping rules and conntrack through nftables and iptables.

pub mod conntrack;
pub mod hostport;
pub mod iptables;
pub mod macspoof;
pub mod masquerade;
pub mod names;
pub mod nft;
mod record;
