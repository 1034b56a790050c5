//! What the running kernel has.

use crate::node::Lab;

/// Whether the kernel makes links of this type (`vlan`, `ipvlan`, `dummy`, `vrf`, as `ip link add`
/// names them). Where it does not, that is reported as a skip, and the test returns.
pub fn kernel_makes(kind: &str) -> bool {
    let lacks = kernel_lacks(kind);
    if let Some(reason) = &lacks {
        crate::skip(reason);
    }
    lacks.is_none()
}

/// Says so if the kernel makes no links of this type; an empty one is always made.
pub fn kernel_lacks(kind: &str) -> Option<String> {
    if kind.is_empty() {
        return None;
    }
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
    (!made).then(|| format!("the kernel has no {kind} links"))
}
