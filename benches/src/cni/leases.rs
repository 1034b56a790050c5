//! dhcp, with its daemon on the node and a server beyond the node's link.

use super::config::{GATEWAY, NETWORK, PREFIX};
use crate::error::{About, Error, Result};
use crate::node::Node;
use serde_json::{Value, json};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The server.
pub(crate) const SERVER: &str = "dnsmasq";
/// The pod that the server is in.
const BEYOND: usize = 1;
/// How long the daemon may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// macvlan with the daemon's addresses.
pub(crate) fn config(node: &Node) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": NETWORK, "type": "macvlan", "master": "lan0",
        "ipam": { "type": "dhcp", "daemonSocketPath": node.file("dhcp.sock") },
    })
}

/// Starts the server, and the daemon of the plugins in `dir`; both end with the node.
pub(crate) fn ready(node: &Node, dir: &Path) -> Result<()> {
    let path = node.pod(BEYOND).display().to_string();
    node.ip(&format!("link add lan0 type veth peer name eth0 netns {path}"))?;
    node.ip("link set lan0 up")?;
    node.ip_of_pod(BEYOND, "link set eth0 up")?;
    node.ip_of_pod(BEYOND, &format!("address add {GATEWAY}/{PREFIX} dev eth0"))?;
    let mut server = Command::new(SERVER);
    server
        .args(["-k", "-C", "/dev/null", "-p", "0", "-u", "root", "--interface=eth0"])
        .args(["--bind-interfaces", "--no-ping", "--dhcp-authoritative", "--log-facility=-"])
        .arg(format!("--dhcp-leasefile={}", node.file("server.leases").display()))
        .arg(format!("--pid-file={}", node.file("server.pid").display()))
        .arg("--dhcp-range=10.64.1.0,10.64.200.255,255.255.0.0,10m");
    node.keep_in_pod(BEYOND, server)?;
    let socket = node.file("dhcp.sock");
    let mut daemon = Command::new(dir.join("dhcp"));
    daemon.arg("daemon").arg("-socketpath").arg(&socket);
    node.keep(daemon)?;
    let start = Instant::now();
    while let Err(cause) = UnixStream::connect(&socket) {
        if start.elapsed() > PATIENCE {
            return Err(Error::new("dhcp daemon", cause)).about(dir.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
