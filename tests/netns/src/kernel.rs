//! What the running kernel has.

use crate::node::Lab;

/// Whether the kernel makes links of this type (`vlan`, `ipvlan`, `dummy`, `vrf`, as `ip link add`
/// names them). Where it does not, that is reported as a skip, and the test returns.
pub fn kernel_makes(kind: &str) -> bool {
    let lab = Lab::new("kernel");
    let node = lab.node();
    let more: &[&str] = match kind {
        "vlan" => &["id", "9"],
        "vrf" => &["table", "9"],
        _ => &[],
    };
    let mut words = vec!["link", "add"];
    if matches!(kind, "vlan" | "ipvlan" | "macvlan") {
        node.ip("link add below type veth peer name beyond");
        words.extend(["link", "below"]);
    }
    words.extend(["name", "probe", "type", kind]);
    words.extend(more);
    let made = node.exec("ip", &words).status.success();
    if !made {
        crate::skip(&format!("the kernel has no {kind} links"));
    }
    made
}
