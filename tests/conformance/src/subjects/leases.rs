//! IPAM plugins that have a server behind them.

use super::host_local_dual;
use crate::subject::{Needs, Repeat, Subject, Wiring};
use lab::{Bins, Lab};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many pods a trial may have, each in a network of its own.
const PODS: u8 = 9;

fn socket(lab: &Lab) -> PathBuf {
    lab.run_dir().join("dhcp.sock")
}

/// Sees that the node has a DHCP server for the networks of pods that are wired by hand, and the
/// daemon of this program.
fn serve(lab: &Lab, daemon: &Path) {
    let socket = socket(lab);
    if socket.exists() {
        return;
    }
    let mut server = Command::new("dnsmasq");
    server.args(["-k", "-C", "/dev/null", "-p", "0", "-u", "root", "--no-ping"]);
    server
        .args(["--interface=hand*", "--bind-dynamic", "-x"])
        .arg(lab.tmp_dir().join("dnsmasq.pid"));
    server.arg(format!("--dhcp-leasefile={}", lab.tmp_dir().join("dnsmasq.leases").display()));
    for n in 1..=PODS {
        server.arg(format!("--dhcp-range=10.77.{n}.100,10.77.{n}.199,255.255.255.0,12h"));
    }
    lab.serve(server);
    let mut command = Command::new(daemon);
    command.args(["daemon", "-socketpath"]).arg(&socket);
    lab.serve(command);
    lab::until("the DHCP daemon listens", lab::PATIENCE, || socket.exists());
}

fn conf(lab: &Lab, daemon: &Path) -> Value {
    serve(lab, daemon);
    json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "ipam": {
        "type": "dhcp", "daemonSocketPath": socket(lab), "priority": 7,
        "provide": [{"option": "host-name", "value": "pod"}]}})
}

/// The subject with the reference's plugin: its daemon is the same program, keeps nothing in files,
/// and knows IPv4 only.
pub(crate) fn dhcp_of(program: PathBuf, subject: Subject) -> Subject {
    let known = |list: &[(&'static str, &'static str, &'static str)]| {
        let list: Vec<_> =
            list.iter().filter(|(at, ..)| *at != "/ipam/families").copied().collect();
        &*Box::leak(list.into_boxed_slice())
    };
    Subject {
        conf: Box::leak(Box::new(move |lab: &Lab, _| conf(lab, &program))),
        makes: &[],
        wrong: known(subject.wrong),
        invalid: known(subject.invalid),
        ..subject
    }
}

/// dhcp by itself, on an interface that is there.
pub fn dhcp_v4() -> Subject {
    Subject {
        name: "dhcp_v4",
        plugin: "dhcp",
        conf: &|lab, _| conf(lab, &Bins::ours().program("dhcp")),
        wiring: Wiring::Before,
        makes: &["file: run/dhcp.leases/"],
        drifts: &[],
        wrong: &[
            ("/ipam/daemonSocketPath", "5", "ipam.daemonSocketPath"),
            ("/ipam/families", "\"ipv4\"", "ipam.families"),
            ("/ipam/priority", "\"x\"", "ipam.priority"),
            ("/ipam/provide/0/option", "12", "ipam.provide[0].option"),
            ("/ipam/request", "{}", "ipam.request"),
        ],
        invalid: &[
            ("/ipam/daemonSocketPath", "\"x.sock\"", "ipam.daemonSocketPath"),
            ("/ipam/families", "[\"ipv5\"]", "ipam.families[0]"),
            ("/ipam/families", "[]", "ipam.families"),
            ("/ipam/provide/0/option", "\"53\"", "ipam.provide[0].option"),
            ("/ipam/request", "[{\"option\": \"x\"}]", "ipam.request[0].option"),
        ],
        repeat: Repeat::Accepted,
        needs: Needs::NOTHING,
        sweep: 3,
        ..host_local_dual()
    }
}
