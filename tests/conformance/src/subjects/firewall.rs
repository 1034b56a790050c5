//! The plugin that says what may go to and from a pod.

use super::{STAYS, portmap_iptables};
use crate::subject::{Needs, Subject};
use lab::Drift;
use serde_json::json;

const WRONG: &[(&str, &str, &str)] = &[
    ("/backend", "5", "backend"),
    ("/iptablesAdminChainName", "[]", "iptablesAdminChainName"),
    ("/firewalldZone", "5", "firewalldZone"),
    ("/ingressPolicy", "true", "ingressPolicy"),
    ("/antiSpoofing", "\"yes\"", "antiSpoofing"),
];

const INVALID: &[(&str, &str, &str)] = &[
    ("/backend", "\"ebpf\"", "backend"),
    ("/iptablesAdminChainName", "\"FORWARD\"", "iptablesAdminChainName"),
    ("/iptablesAdminChainName", "\"a b\"", "iptablesAdminChainName"),
    ("/ingressPolicy", "\"closed\"", "ingressPolicy"),
];

/// firewall with iptables, as most node agents ship it.
pub fn firewall_iptables() -> Subject {
    Subject {
        name: "firewall_iptables",
        plugin: "firewall",
        conf: &|_, _| json!({"cniVersion": "1.1.0", "name": "net", "type": "firewall", "backend": "iptables"}),
        makes: &[
            "iptables-save: *filter -A CNI-FORWARD -s 10.77.1.2/32",
            "ip6tables-save: *filter -A CNI-FORWARD -s fd77:1::2/128",
            "file: run/firewall/records/",
        ],
        stays: STAYS,
        drifts: &[(Drift::RulesFlushed, "CNI-FORWARD")],
        wrong: WRONG,
        invalid: INVALID,
        sweep: 3,
        ..portmap_iptables()
    }
}

/// firewall with nftables and a guard against forged addresses. Isolation needs a bridge in the
/// result, which versions before 0.3.0 cannot tell.
pub fn firewall_nftables() -> Subject {
    Subject {
        name: "firewall_nftables",
        conf: &|_, _| {
            json!({"cniVersion": "1.1.0", "name": "net", "type": "firewall",
                "backend": "nftables", "antiSpoofing": true})
        },
        makes: &["10.77.1.2", "fd77:1::2", "chain guard-"],
        drifts: &[(Drift::RulesFlushed, "podloom_firewall")],
        needs: Needs::NOTHING,
        ..firewall_iptables()
    }
}
