//! Chained plugins that change what the pod's interface is like.

use super::portmap_iptables;
use crate::subject::{Needs, Subject};
use lab::Drift;
use serde_json::json;

/// tuning, with everything that it can set.
pub fn tuning_all() -> Subject {
    Subject {
        name: "tuning_all",
        plugin: "tuning",
        conf: &|lab, number| {
            json!({"cniVersion": "1.1.0", "name": "net", "type": "tuning",
                "dataDir": lab.data_dir(), "mac": format!("02:00:00:00:88:{number:02x}"),
                "mtu": 1400, "promisc": true, "allmulti": true, "txQLen": 500,
                "sysctl": {"net.ipv4.conf.IFNAME.arp_notify": "1", "net.core.somaxconn": "333"}})
        },
        makes: &["file: data/pod-a_eth0.json"],
        stays: &[],
        drifts: &[
            (Drift::LinkDeleted, "eth0"),
            (Drift::MacChanged, "eth0"),
            (Drift::MtuChanged, "eth0"),
            (Drift::SysctlChanged, "arp_notify"),
        ],
        wrong: &[
            ("/sysctl", "[]", "sysctl"),
            ("/sysctl", "{\"net.core.somaxconn\": 5}", "sysctl.net.core.somaxconn"),
            ("/mac", "5", "mac"),
            ("/mtu", "\"1400\"", "mtu"),
            ("/txQLen", "-1", "txQLen"),
            ("/args/cni/promisc", "\"yes\"", "args.cni.promisc"),
        ],
        invalid: &[
            ("/mtu", "67", "mtu"),
            ("/mac", "\"x\"", "mac"),
            ("/sysctl", "{\"kernel.panic\": \"1\"}", "sysctl.kernel.panic"),
            ("/sysctl", "{\"net.core.../kernel.panic\": \"1\"}", "kernel.panic"),
        ],
        needs: Needs::NOTHING,
        sweep: 2,
        ..portmap_iptables()
    }
}

/// bandwidth in both directions, as a runtime asks for it.
pub fn bandwidth_both() -> Subject {
    Subject {
        name: "bandwidth_both",
        plugin: "bandwidth",
        conf: &|_, _| {
            json!({"cniVersion": "1.1.0", "name": "net", "type": "bandwidth",
                "capabilities": {"bandwidth": true}, "runtimeConfig": {"bandwidth": {
                    "ingressRate": 15_000_000, "ingressBurst": 1_500_000,
                    "egressRate": 10_000_000, "egressBurst": 1_000_000}}})
        },
        makes: &["kind ifb", "alias \"podloom/net/pod-a/eth0\""],
        stays: &[],
        drifts: &[(Drift::LinkDeleted, "eth0"), (Drift::LimitsDeleted, "hand1")],
        wrong: &[
            ("/ingressRate", "\"1M\"", "ingressRate"),
            ("/unshapedSubnets", "\"10.0.0.0/8\"", "unshapedSubnets"),
            ("/runtimeConfig/bandwidth", "[5]", "runtimeConfig.bandwidth"),
            ("/runtimeConfig/bandwidth/egressRate", "-1", "runtimeConfig.bandwidth.egressRate"),
        ],
        invalid: &[
            ("/egressBurst", "8", "egressBurst"),
            ("/shapedSubnets", "[\"x\"]", "shapedSubnets[0]"),
            ("/runtimeConfig/bandwidth/ingressRate", "7", "runtimeConfig.bandwidth.ingressRate"),
        ],
        needs: Needs::NOTHING,
        sweep: 2,
        ..portmap_iptables()
    }
}
