//! The plugins of the bundle with the configurations that enter the table.

mod firewall;
mod flannel;
mod leases;
mod podlinks;
mod sbr;
mod shaped;
mod vrf;

pub use firewall::{firewall_iptables, firewall_nftables};
pub use flannel::flannel_dual;
pub(crate) use leases::dhcp_of;
pub use leases::dhcp_v4;
pub use podlinks::{dummy_dual, host_device_dual, ipvlan_dual, macvlan_dual, tap_dual, vlan_dual};
pub use sbr::sbr;
pub use shaped::{bandwidth_both, tuning_all};
pub use vrf::vrf;

use crate::maker::Maker;
use crate::subject::{Needs, Repeat, Subject, Wiring};
use lab::{Drift, Lab};
use serde_json::{Value, json};

/// Hands the names of all subjects to a macro: a new one enters here.
#[macro_export]
macro_rules! each_subject {
    ($($with:tt)+) => {
        $($with)+! {
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
            tuning_all,
            bandwidth_both,
            firewall_iptables,
            firewall_nftables,
            sbr,
            loopback,
            static_dual,
            dhcp_v4,
            macvlan_dual,
            ipvlan_dual,
            vlan_dual,
            dummy_dual,
            host_device_dual,
            tap_dual,
            vrf,
            flannel_dual,
        }
    };
}

macro_rules! listed {
    ($($subject:ident),+ $(,)?) => {
        /// All subjects, in the order of the table.
        pub fn all() -> Vec<Subject> {
            vec![$($subject()),+]
        }
    };
}
each_subject!(listed);

fn host_local(lab: &Lab, dual: bool) -> Value {
    let mut ranges = vec![json!([{"subnet": "10.88.0.0/16"}])];
    let mut routes = vec![json!({"dst": "0.0.0.0/0"})];
    if dual {
        ranges.push(json!([{"subnet": "fd88::/64"}]));
        routes.push(json!({"dst": "::/0"}));
    }
    json!({"type": "host-local", "dataDir": lab.data_dir(), "ranges": ranges, "routes": routes})
}

fn network(plugin: &str, lab: &Lab, dual: bool, more: Value) -> Value {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": plugin,
        "ipam": host_local(lab, dual)});
    if let (Some(conf), Value::Object(more)) = (conf.as_object_mut(), more) {
        conf.extend(more);
    }
    conf
}

const IPAM_WRONG: (&str, &str, &str) = ("/ipam/type", "5", "ipam.type");

const BRIDGE_WRONG: &[(&str, &str, &str)] = &[
    ("/bridge", "5", "bridge"),
    ("/isGateway", "\"yes\"", "isGateway"),
    ("/mtu", "\"1500\"", "mtu"),
    ("/mtu", "-1", "mtu"),
    ("/vlan", "[]", "vlan"),
    ("/ipam", "\"host-local\"", "ipam"),
    ("/ipam/ranges", "[[{\"subnet\": 5}]]", "ipam.ranges[0][0].subnet"),
    IPAM_WRONG,
];

const BRIDGE_INVALID: &[(&str, &str, &str)] = &[
    ("/bridge", "\"a/b\"", "bridge"),
    ("/bridge", "\"0123456789abcdef\"", "bridge"),
    ("/vlan", "4095", "vlan"),
];

const MASQ_INVALID: &[(&str, &str, &str)] = &[("/ipMasqBackend", "\"ebpf\"", "ipMasqBackend")];

const LINK_DRIFTS: &[(Drift, &str)] = &[
    (Drift::LinkDeleted, "eth0"),
    (Drift::LinkDown, "eth0"),
    (Drift::AddressDeleted, "10.88."),
    (Drift::RoutesDeleted, "0.0.0.0/0"),
    (Drift::MacChanged, "eth0"),
    (Drift::MtuChanged, "eth0"),
    (Drift::HostLinkDown, "veth"),
    (Drift::LeasesDeleted, "10.88."),
];

const BRIDGE_DRIFTS: &[(Drift, &str)] = &[
    LINK_DRIFTS[0],
    LINK_DRIFTS[1],
    LINK_DRIFTS[2],
    LINK_DRIFTS[3],
    LINK_DRIFTS[4],
    LINK_DRIFTS[5],
    LINK_DRIFTS[6],
    LINK_DRIFTS[7],
    (Drift::PortRemoved, "cni0"),
    (Drift::GatewayDeleted, "cni0"),
];

const PTP_DRIFTS: &[(Drift, &str)] = &[
    LINK_DRIFTS[0],
    LINK_DRIFTS[1],
    LINK_DRIFTS[2],
    (Drift::RoutesDeleted, "route"),
    LINK_DRIFTS[4],
    LINK_DRIFTS[5],
    LINK_DRIFTS[6],
    LINK_DRIFTS[7],
];

/// Of an interface that has nothing on the node.
const POD_DRIFTS: &[(Drift, &str)] = &[
    LINK_DRIFTS[0],
    LINK_DRIFTS[1],
    LINK_DRIFTS[2],
    LINK_DRIFTS[3],
    LINK_DRIFTS[4],
    LINK_DRIFTS[5],
    LINK_DRIFTS[7],
];

const L2_DRIFTS: &[(Drift, &str)] = &[LINK_DRIFTS[0], LINK_DRIFTS[4], (Drift::PortRemoved, "cni0")];

/// What iptables and nft show once a chain has been made, and the bridge that pods share.
const STAYS: &[&str] =
    &["cni0", "10.88.", "fd88:", "nft: table", "tables-save: *", "CNI-", "run/portmap/ready"];

/// bridge, IPv4, as most node agents ship it.
pub fn bridge_v4() -> Subject {
    Subject {
        name: "bridge_v4",
        plugin: "bridge",
        maker: Maker::Podloom,
        kernel: "",
        conf: &|lab, _| network("bridge", lab, false, json!({"bridge": "cni0", "isGateway": true})),
        wiring: Wiring::Plugin,
        ifname: "eth0",
        makes: &["kind veth", "master \"cni0\"", "file: data/net/10.88."],
        stays: STAYS,
        drifts: BRIDGE_DRIFTS,
        wrong: BRIDGE_WRONG,
        invalid: BRIDGE_INVALID,
        repeat: Repeat::Refused("eth0"),
        needs: Needs::LEASES,
        collects: true,
        addresses: true,
        reports_only: false,
        sweep: 1,
    }
}

/// bridge without addresses.
pub fn bridge_l2() -> Subject {
    Subject {
        name: "bridge_l2",
        conf: &|_, _| json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "cni0"}),
        makes: &["kind veth", "master \"cni0\""],
        drifts: L2_DRIFTS,
        wrong: &[("/bridge", "5", "bridge")],
        invalid: BRIDGE_INVALID,
        needs: Needs::NOTHING,
        addresses: false,
        sweep: 5,
        ..bridge_v4()
    }
}

/// bridge, dual-stack with masquerade by iptables.
pub fn bridge_masq_iptables() -> Subject {
    Subject {
        name: "bridge_masq_iptables",
        conf: &|lab, _| {
            network(
                "bridge",
                lab,
                true,
                json!({"bridge": "cni0", "isGateway": true,
                "hairpinMode": true, "ipMasq": true, "ipMasqBackend": "iptables"}),
            )
        },
        makes: &[
            "kind veth",
            "file: data/net/10.88.",
            "file: data/net/fd88:",
            "iptables-save: *nat -A CNI-",
            "ip6tables-save: *nat -A CNI-",
        ],
        drifts: &[(Drift::RulesFlushed, "masquerade")],
        invalid: MASQ_INVALID,
        needs: Needs::LEASES_AND_IPTABLES,
        sweep: 5,
        ..bridge_v4()
    }
}

/// bridge, dual-stack with masquerade by nftables.
pub fn bridge_masq_nftables() -> Subject {
    Subject {
        name: "bridge_masq_nftables",
        conf: &|lab, _| {
            network(
                "bridge",
                lab,
                true,
                json!({"bridge": "cni0", "isGateway": true,
                "ipMasq": true, "ipMasqBackend": "nftables"}),
            )
        },
        makes: &["kind veth", "file: data/net/10.88.", "file: data/net/fd88:", "masquerade"],
        drifts: &[(Drift::RulesFlushed, "masquerade")],
        invalid: MASQ_INVALID,
        sweep: 5,
        ..bridge_v4()
    }
}

/// ptp, IPv4.
pub fn ptp_v4() -> Subject {
    Subject {
        name: "ptp_v4",
        plugin: "ptp",
        conf: &|lab, _| network("ptp", lab, false, json!({"mtu": 1400})),
        makes: &["kind veth", "mtu 1400", "file: data/net/10.88.", "route: {"],
        drifts: PTP_DRIFTS,
        wrong: &[
            ("/mtu", "\"1500\"", "mtu"),
            ("/ipMasq", "1", "ipMasq"),
            ("/ipam", "[]", "ipam"),
            IPAM_WRONG,
        ],
        invalid: &[("/mtu", "67", "mtu"), ("/ipam", "{}", "ipam")],
        ..bridge_v4()
    }
}

/// ptp, dual-stack with masquerade by iptables.
pub fn ptp_masq_iptables() -> Subject {
    Subject {
        name: "ptp_masq_iptables",
        conf: &|lab, _| {
            network("ptp", lab, true, json!({"ipMasq": true, "ipMasqBackend": "iptables"}))
        },
        makes: &["kind veth", "iptables-save: *nat -A CNI-", "ip6tables-save: *nat -A CNI-"],
        drifts: &[(Drift::RulesFlushed, "masquerade")],
        invalid: MASQ_INVALID,
        needs: Needs::LEASES_AND_IPTABLES,
        sweep: 5,
        ..ptp_v4()
    }
}

/// ptp, dual-stack with masquerade by nftables.
pub fn ptp_masq_nftables() -> Subject {
    Subject {
        name: "ptp_masq_nftables",
        conf: &|lab, _| {
            network("ptp", lab, true, json!({"ipMasq": true, "ipMasqBackend": "nftables"}))
        },
        makes: &["kind veth", "masquerade"],
        needs: Needs::LEASES,
        ..ptp_masq_iptables()
    }
}

/// host-local by itself, dual-stack.
pub fn host_local_dual() -> Subject {
    Subject {
        name: "host_local_dual",
        plugin: "host-local",
        maker: Maker::Podloom,
        kernel: "",
        conf: &|lab, _| {
            json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge",
            "ipam": host_local(lab, true)})
        },
        wiring: Wiring::Plugin,
        ifname: "eth0",
        makes: &["file: data/net/10.88.", "file: data/net/fd88:"],
        stays: &[],
        drifts: &[(Drift::LeasesDeleted, "10.88.")],
        wrong: &[
            ("/ipam/ranges", "\"x\"", "ipam.ranges"),
            ("/ipam/ranges", "[[{\"subnet\": 5}]]", "ipam.ranges[0][0].subnet"),
            ("/ipam/routes", "[{\"dst\": true}]", "ipam.routes[0].dst"),
            ("/ipam/dataDir", "[]", "ipam.dataDir"),
        ],
        invalid: &[
            ("/ipam/ranges", "[[{\"subnet\": \"10.0.0.0/31\"}]]", "10.0.0.0/31"),
            (
                "/ipam/ranges",
                "[[{\"subnet\": \"10.0.0.0/24\", \"rangeStart\": \"10.9.0.1\"}]]",
                "rangeStart",
            ),
            (
                "/ipam/ranges",
                "[[{\"subnet\": \"10.0.0.0/24\"}], [{\"subnet\": \"10.0.0.0/16\"}]]",
                "ipam.ranges[1]",
            ),
        ],
        repeat: Repeat::Refused("10.88."),
        needs: Needs { ipam: None, program: None, pool: Some("/ipam/ranges") },
        collects: true,
        addresses: true,
        reports_only: false,
        sweep: 1,
    }
}

fn mappings(number: u8) -> Value {
    let port = |base: u16| base + u16::from(number);
    json!({"portMappings": [
        {"hostPort": port(8000), "containerPort": 80, "protocol": "tcp"},
        {"hostPort": port(8000), "containerPort": 80, "protocol": "udp"},
        {"hostPort": port(8100), "containerPort": 81, "protocol": "sctp"},
        {"hostPort": port(8200), "containerPort": 82, "protocol": "tcp", "hostIP": "127.0.0.1"},
    ]})
}

fn portmap(backend: &str, number: u8) -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "type": "portmap", "backend": backend,
        "snat": true, "capabilities": {"portMappings": true}, "runtimeConfig": mappings(number)})
}

/// portmap with iptables.
pub fn portmap_iptables() -> Subject {
    Subject {
        name: "portmap_iptables",
        plugin: "portmap",
        maker: Maker::Podloom,
        kernel: "",
        conf: &|_, number| portmap("iptables", number),
        wiring: Wiring::Before,
        ifname: "eth0",
        makes: &["iptables-save: *nat -A CNI-", "ip6tables-save: *nat -A CNI-", "8001"],
        stays: STAYS,
        drifts: &[(Drift::RulesFlushed, "CNI-")],
        wrong: &[
            ("/snat", "\"x\"", "snat"),
            ("/runtimeConfig/portMappings", "{}", "runtimeConfig.portMappings"),
            (
                "/runtimeConfig/portMappings/0/hostPort",
                "\"80\"",
                "runtimeConfig.portMappings[0].hostPort",
            ),
            ("/conditionsV4", "\"x\"", "conditionsV4"),
        ],
        invalid: &[
            ("/runtimeConfig/portMappings/0/hostPort", "70000", "hostPort"),
            ("/runtimeConfig/portMappings/0/containerPort", "0", "containerPort"),
            ("/runtimeConfig/portMappings/0/protocol", "\"icmp\"", "protocol"),
            ("/runtimeConfig/portMappings/0/hostIP", "\"x\"", "hostIP"),
            ("/backend", "\"ebpf\"", "backend"),
        ],
        repeat: Repeat::Accepted,
        needs: Needs { ipam: None, program: Some("iptables"), pool: None },
        collects: true,
        addresses: true,
        reports_only: false,
        sweep: 1,
    }
}

/// portmap with nftables.
pub fn portmap_nftables() -> Subject {
    Subject {
        name: "portmap_nftables",
        conf: &|_, number| portmap("nftables", number),
        drifts: &[(Drift::RulesFlushed, "cni_hostport")],
        makes: &["nft: table ip cni_hostport", "nft: table ip6 cni_hostport", "8001"],
        needs: Needs::NOTHING,
        ..portmap_iptables()
    }
}

/// loopback.
pub fn loopback() -> Subject {
    Subject {
        name: "loopback",
        plugin: "loopback",
        maker: Maker::Podloom,
        kernel: "",
        conf: &|_, _| json!({"cniVersion": "1.1.0", "name": "lo", "type": "loopback"}),
        wiring: Wiring::Plugin,
        ifname: "lo",
        makes: &[],
        stays: &[],
        drifts: &[(Drift::LinkDown, "lo")],
        wrong: &[],
        invalid: &[],
        repeat: Repeat::Accepted,
        needs: Needs::NOTHING,
        collects: false,
        addresses: true,
        reports_only: false,
        sweep: 1,
    }
}

/// static by itself, dual-stack.
pub fn static_dual() -> Subject {
    Subject {
        name: "static_dual",
        plugin: "static",
        conf: &|_, number| {
            json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "ipam": {
                "type": "static", "routes": [{"dst": "0.0.0.0/0"}], "addresses": [
                    {"address": format!("10.88.0.{number}/16"), "gateway": "10.88.0.254"},
                    {"address": format!("fd88::{number}/64")}]}})
        },
        makes: &[],
        drifts: &[],
        wrong: &[
            ("/ipam/addresses", "\"x\"", "ipam.addresses"),
            ("/ipam/addresses/0/address", "5", "ipam.addresses[0].address"),
            ("/ipam/routes", "[{\"dst\": true}]", "ipam.routes[0].dst"),
            ("/ipam/dns", "\"x\"", "ipam.dns"),
        ],
        invalid: &[
            ("/ipam/addresses", "[]", "ipam.addresses"),
            ("/ipam/addresses/0/gateway", "\"fd88::1\"", "10.88."),
        ],
        ifname: "eth0",
        reports_only: true,
        ..loopback()
    }
}
