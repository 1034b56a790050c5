//! The networks of the demo, as container runtimes ship them.
//!
//! Three things differ from what the packages hold: CRI-O's bridge has a name of its own, as both
//! runtimes call theirs `cni0`; podman's list leaves out its firewall plugin, which would ask a
//! firewalld of the machine's own; and leases go to the demo's own directory.

use serde_json::{Value, json};
use std::path::Path;

/// The network that containerd's installation script writes.
pub(super) const CONTAINERD: &str = "containerd-net";
/// CRI-O's bridge.
pub(super) const CRIO: &str = "crio";
/// podman's point-to-point example.
pub(super) const PODMAN: &str = "podman-ptp";
/// What every runtime sets up first.
pub(super) const LOOPBACK: &str = "loopback";

/// The plugin that keeps an ADD waiting until it is killed.
pub(super) const PAUSE: &str = "demo-pause";

fn containerd(leases: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
        "name": CONTAINERD,
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": true,
                "promiscMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": leases,
                    "ranges": [
                        [{ "subnet": "10.88.0.0/16" }],
                        [{ "subnet": "2001:4860:4860::/64" }]
                    ],
                    "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]
                }
            },
            { "type": "portmap", "capabilities": { "portMappings": true } }
        ]
    })
}

fn crio(leases: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": CRIO,
        "plugins": [{
            "type": "bridge",
            "bridge": "crio0",
            "isGateway": true,
            "ipMasq": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": leases,
                "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
                "ranges": [[{ "subnet": "10.85.0.0/16" }], [{ "subnet": "1100:200::/24" }]]
            }
        }]
    })
}

fn podman(leases: &Path) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": PODMAN,
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": leases,
                    "subnet": "172.16.16.0/24",
                    "routes": [{ "dst": "0.0.0.0/0" }]
                }
            },
            { "type": "portmap", "capabilities": { "portMappings": true } }
        ]
    })
}

/// The single-plugin form that the specification has dropped and packages still hold.
fn loopback() -> Value {
    json!({ "cniVersion": "0.3.1", "name": LOOPBACK, "type": "loopback" })
}

/// Writes the files into `dir`; and into `slow` the same network of containerd with a plugin at
/// its end that waits.
pub(super) fn write(dir: &Path, slow: &Path, leases: &Path) -> std::io::Result<()> {
    let put = |path: &Path, doc: Value| std::fs::write(path, format!("{doc:#}\n"));
    let beside = slow.join(CONTAINERD);
    for dir in [dir, slow, &beside] {
        std::fs::create_dir_all(dir)?;
    }
    put(&dir.join("10-containerd-net.conflist"), containerd(leases))?;
    put(&dir.join("11-crio-ipv4-bridge.conflist"), crio(leases))?;
    put(&dir.join("87-podman-ptp.conflist"), podman(leases))?;
    put(&dir.join("99-loopback.conf"), loopback())?;
    put(&slow.join("10-containerd-net.conflist"), containerd(leases))?;
    put(&beside.join("50-pause.conf"), json!({ "type": PAUSE }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcni::load_network;

    #[test]
    fn all_networks_load() {
        let dir = std::env::temp_dir().join(format!("podloom-lists-{}", std::process::id()));
        let (conf, slow) = (dir.join("conf"), dir.join("slow"));
        write(&conf, &slow, Path::new("/leases")).expect("written");
        for (name, version, plugins) in [
            (CONTAINERD, "1.1.0", 2),
            (CRIO, "1.0.0", 1),
            (PODMAN, "0.4.0", 2),
            (LOOPBACK, "0.3.1", 1),
        ] {
            let list = load_network(&conf, name).expect(name);
            assert_eq!((list.version.as_str(), list.plugins.len()), (version, plugins));
        }
        let list = load_network(&slow, CONTAINERD).expect("slow");
        assert_eq!(list.plugins[2].plugin.as_str(), PAUSE);
        std::fs::remove_dir_all(dir).expect("removed");
    }
}
