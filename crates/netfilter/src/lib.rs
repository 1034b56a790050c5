//! Masquerade, port mappings, admission and isolation of pods, and conntrack, through nftables and
//! iptables.

pub mod conntrack;
pub mod firewall;
pub mod hostport;
pub mod iptables;
pub mod macspoof;
pub mod masquerade;
pub mod names;
pub mod nft;
mod record;
