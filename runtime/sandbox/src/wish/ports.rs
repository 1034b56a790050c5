//! Ports of the node that lead into a pod: the capability `portMappings`.

use crate::{Error, Result};
use cri_api::v1::{PortMapping, Protocol};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The capability argument; mappings without a port of the node are none.
///
/// # Errors
/// What is no port, address or protocol, and a port that is asked for twice.
pub(super) fn parse(mappings: &[PortMapping]) -> Result<Vec<Value>> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (index, mapping) in mappings.iter().enumerate().filter(|(_, m)| m.host_port != 0) {
        let at = |field: &str| format!("port_mappings[{index}].{field}");
        let port = |field: &str, number: i32| match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(Error::invalid(at(field), format!("{number} is not 1 to 65535"))),
        };
        let host_port = port("host_port", mapping.host_port)?;
        let container_port = port("container_port", mapping.container_port)?;
        let protocol = match Protocol::try_from(mapping.protocol) {
            Ok(Protocol::Tcp) => "tcp",
            Ok(Protocol::Udp) => "udp",
            Ok(Protocol::Sctp) => "sctp",
            Err(_) => {
                let cause = format!("{} is not TCP, UDP or SCTP", mapping.protocol);
                return Err(Error::invalid(at("protocol"), cause));
            }
        };
        let host_ip = &mapping.host_ip;
        if !host_ip.is_empty() && host_ip.parse::<IpAddr>().is_err() {
            let cause = format!("{host_ip:?} is not an IP address");
            return Err(Error::invalid(at("host_ip"), cause));
        }
        if !seen.insert((host_port, protocol, host_ip.clone())) {
            let cause = format!("{host_port}/{protocol} is asked for twice");
            return Err(Error::invalid(at("host_port"), cause));
        }
        let mut value = json!({
            "hostPort": host_port, "containerPort": container_port, "protocol": protocol,
        });
        if !host_ip.is_empty() {
            value["hostIP"] = Value::from(host_ip.clone());
        }
        found.push(value);
    }
    Ok(found)
}
