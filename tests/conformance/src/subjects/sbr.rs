//! The plugin that routes by source address.

use super::portmap_nftables;
use crate::subject::Subject;
use lab::Drift;
use serde_json::json;

/// sbr behind a plugin that has made a dual-stack interface.
pub fn sbr() -> Subject {
    Subject {
        name: "sbr",
        plugin: "sbr",
        conf: &|_, _| json!({"cniVersion": "1.1.0", "name": "net", "type": "sbr", "addSourceHints": true}),
        makes: &[],
        stays: &[],
        drifts: &[(Drift::LinkDeleted, "eth0"), (Drift::LinkDown, "in table 10")],
        wrong: &[
            ("/table", "\"100\"", "table"),
            ("/gateways", "\"10.77.1.1\"", "gateways"),
            ("/gateways", "[5]", "gateways[0]"),
            ("/addSourceHints", "\"yes\"", "addSourceHints"),
        ],
        invalid: &[
            ("/table", "0", "table"),
            ("/table", "255", "table"),
            ("/gateways", "[\"x\"]", "gateways[0]"),
            ("/gateways", "[\"10.77.1.1\", \"10.77.1.9\"]", "gateways[1]"),
        ],
        // All of it is in the pod, and goes with it.
        collects: false,
        sweep: 3,
        ..portmap_nftables()
    }
}
