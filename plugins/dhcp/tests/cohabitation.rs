//! Changing over from the reference plugin, whose daemon speaks another protocol and forgets its
//! leases.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use lab::{Plugin, address};
use serde_json::json;
use stage::{PATIENT, Program, Site};
use std::process::Command;

#[test]
fn a_pod_of_the_reference_keeps_its_address_and_can_be_deleted() {
    let Some(reference) = lab::reference() else { return };
    let site = Site::new("dhcp-changeover");
    let _server = site.dnsmasq(&["--dhcp-option=option:router,10.66.0.1"]);
    let mut command = Command::new(reference.program("dhcp"));
    command.args(["daemon", "-socketpath"]).arg(site.socket());
    let theirs = Program::start(site.lab.node(), &mut command, &site.file("theirs.log"));
    lab::until("their daemon listens", PATIENT, || site.socket().exists());
    let mut conf = site.conf(&json!({}));
    conf["cniVersion"] = "0.4.0".into();
    let pod = site.lab.pod("a");
    let with = |bins| -> Plugin<'_> { site.lab.plugin_of(bins, "macvlan") };
    let result = with(&reference).add(&pod, "eth0", &conf).ok();
    // A daemon of one and a plugin of the other do not understand each other, and say so.
    let ours = site.lab.plugin("dhcp").add(&pod, "eth0", &conf);
    assert!(!ours.success() && ours.msg().contains("dhcp.sock"), "{ours}");
    theirs.crash();

    let _daemon = site.daemon(&[]);
    let again = site.lab.plugin("dhcp").add(&pod, "eth0", &conf).ok();
    assert_eq!(address(&again, 0), address(&result, 0), "the identity is the same");
    site.lab.plugin("dhcp").check(&pod, "eth0", &conf, &result).ok();
    site.macvlan().del(&pod, "eth0", &conf).ok();
    assert!(site.records().is_empty() && !pod.has_link("eth0"));
}
