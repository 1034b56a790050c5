//! Every plugin of the bundle enters the table.

conformance::enter!(
    bridge_v4,
    bridge_l2,
    bridge_masq_iptables,
    bridge_masq_nftables,
    ptp_v4,
    ptp_masq_iptables,
    ptp_masq_nftables,
    host_local_dual,
    portmap_iptables,
    portmap_nftables,
    loopback,
    static_dual,
    macvlan_dual,
    ipvlan_dual,
    vlan_dual,
    dummy_dual,
    host_device_dual,
    tap_dual,
);
