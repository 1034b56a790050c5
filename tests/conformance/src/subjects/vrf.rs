//! The plugin that puts a pod's interface into a VRF.

use super::portmap_nftables;
use crate::subject::Subject;
use lab::Drift;
use serde_json::json;

/// vrf behind a plugin that has made a dual-stack interface.
pub fn vrf() -> Subject {
    Subject {
        name: "vrf",
        plugin: "vrf",
        kernel: "vrf",
        conf: &|_, _| {
            json!({"cniVersion": "1.1.0", "name": "net", "type": "vrf", "vrfname": "blue",
                "table": 10})
        },
        makes: &[],
        stays: &[],
        drifts: &[
            (Drift::LinkDeleted, "eth0"),
            (Drift::LinkDown, "0.0.0.0/0"),
            (Drift::AddressDeleted, "10.77."),
            (Drift::VrfLeft, "eth0"),
        ],
        wrong: &[("/vrfname", "5", "vrfname"), ("/table", "\"10\"", "table")],
        invalid: &[
            ("/vrfname", "\"\"", "vrfname"),
            ("/vrfname", "\"a/b\"", "vrfname"),
            ("/table", "254", "table"),
        ],
        // What a killed ADD leaves is in the pod, and goes with it.
        collects: false,
        sweep: 3,
        ..portmap_nftables()
    }
}
