//! Links are made, read, changed and deleted in namespaces of the test's own. Needs root.

use netlink::{Bridge, Change, Kind, Mac, Netlink, Peer, Place, PortFlags, Veth, VlanRange};
use netns::Netns;
use std::os::fd::AsFd;

struct Lab {
    _node: Netns,
    host: Netlink,
    pod: Netns,
    inside: Netlink,
}

fn lab() -> Result<Lab, Box<dyn std::error::Error>> {
    let (node, pod) = (Netns::anonymous()?, Netns::anonymous()?);
    let (host, inside) = (Netlink::open_in(&node)?, Netlink::open_in(&pod)?);
    Ok(Lab { _node: node, host, pod, inside })
}

fn veth<'a>(lab: &'a Lab, name: &'a str, master: Option<u32>) -> Veth<'a> {
    Veth {
        name,
        mtu: Some(1400),
        mac: None,
        master,
        up: true,
        peer: Peer {
            name: "eth0",
            namespace: Some(lab.pod.as_fd()),
            mac: Some(Mac([2, 0, 0, 0, 0, 9])),
        },
    }
}

#[test]
fn one_request_makes_a_pair_with_a_port_and_a_pod_end() {
    let lab = lab().expect("lab");
    let bridge = Bridge { name: "br0", mtu: Some(1400), up: true, ..Bridge::default() };
    let bridge = lab.host.ensure_bridge(&bridge).expect("bridge");
    assert_eq!(bridge.kind, Kind::Bridge);
    assert!(bridge.up);
    assert!(!bridge.bridge.expect("bridge").vlan_filtering);
    lab.host.create_veth(&veth(&lab, "veth0", Some(bridge.index))).expect("veth");
    let host = lab.host.link_by_name("veth0").expect("get").expect("made");
    let pod = lab.inside.link_by_name("eth0").expect("get").expect("made");
    assert_eq!((&host.kind, host.mtu, host.master), (&Kind::Veth, 1400, Some(bridge.index)));
    assert!(host.up && !host.running && host.peer_elsewhere);
    assert_eq!(host.peer, Some(pod.index));
    assert_eq!(pod.peer, Some(host.index));
    assert_eq!((pod.mac, pod.mtu, pod.up), (Some(Mac([2, 0, 0, 0, 0, 9])), 1400, false));
    assert_eq!(host.port, Some(PortFlags::default()));

    let change = Change {
        alias: Some("podloom/net/c/eth0"),
        port: Some(PortFlags { hairpin: true, isolated: true }),
        ..Change::default()
    };
    lab.host.change(host.index, &change).expect("change");
    lab.inside.set_up(pod.index).expect("up");
    let host = lab.host.link_by_index(host.index).expect("get").expect("there");
    assert_eq!(host.alias, "podloom/net/c/eth0");
    assert_eq!(host.port, Some(PortFlags { hairpin: true, isolated: true }));
    assert!(host.running);
    let ports = lab.host.ports(bridge.index).expect("ports");
    assert_eq!(ports, std::slice::from_ref(&host));
    assert_eq!(lab.host.links().expect("links").len(), 3);

    assert!(lab.inside.delete_link_by_name("eth0").expect("delete"));
    assert!(!lab.inside.delete_link_by_name("eth0").expect("again"));
    assert!(!lab.host.delete_link(host.index).expect("again"));
    assert_eq!(lab.host.link_by_name("veth0").expect("get"), None);
    assert_eq!(lab.host.link_by_index(host.index).expect("get"), None);
}

#[test]
fn a_refusal_has_the_kernels_words() {
    let lab = lab().expect("lab");
    lab.host.create_veth(&veth(&lab, "veth0", None)).expect("veth");
    let error = lab.host.create_veth(&veth(&lab, "veth1", None)).expect_err("eth0 is there");
    assert!(error.is_exists(), "{error}");
    assert_eq!(lab.host.link_by_name("veth1").expect("get"), None);
    let lo = lab.host.expect_link("lo").expect("lo");
    assert!(lo.loopback && lo.kind == Kind::Device);
    let error = lab.host.delete_link(lo.index).expect_err("lo stays");
    assert!(!error.is_not_found(), "{error}");
    let error = lab.host.create_veth(&veth(&lab, "veth2", Some(lo.index))).expect_err("no bridge");
    assert!(error.to_string().contains("create veth veth2"), "{error}");
    let change = Change { mtu: Some(1), ..Change::default() };
    let error = lab.host.change(lab.host.expect_link("veth0").expect("veth0").index, &change);
    assert_eq!(error.expect_err("mtu").text, "mtu less than device minimum");
    assert!(lab.host.expect_link("none").expect_err("none").is_not_found());
}

#[test]
fn vlans_of_a_port_are_added_listed_and_deleted() {
    let lab = lab().expect("lab");
    let bridge = Bridge { name: "br0", vlan_filtering: true, up: true, ..Bridge::default() };
    let bridge = match lab.host.ensure_bridge(&bridge) {
        Err(e) if e.is_unsupported() => return lab::skip("the kernel filters no VLANs on bridges"),
        other => other.expect("bridge"),
    };
    assert!(bridge.bridge.expect("bridge").vlan_filtering);
    lab.host.create_veth(&veth(&lab, "veth0", Some(bridge.index))).expect("veth");
    let port = lab.host.expect_link("veth0").expect("veth").index;
    assert_eq!(lab.host.vlans(port).expect("vlans"), [VlanRange::access(1)]);
    lab.host.delete_vlans(port, &[VlanRange::access(1)], false).expect("delete");
    lab.host.delete_vlans(port, &[VlanRange::access(1)], false).expect("delete again");
    let want = [VlanRange::tagged(10, 14), VlanRange::access(100), VlanRange::tagged(200, 200)];
    lab.host.add_vlans(port, &want, false).expect("add");
    assert_eq!(lab.host.vlans(port).expect("vlans"), want);
    lab.host.add_vlans(bridge.index, &[VlanRange::tagged(100, 100)], true).expect("own");
    let own = lab.host.vlans(bridge.index).expect("own");
    assert!(own.contains(&VlanRange::tagged(100, 100)), "{own:?}");
    let place = Place { name: "br0.100", ..Place::default() };
    match lab.host.create_vlan(&place, bridge.index, 100) {
        Err(e) if e.is_unsupported() => return lab::skip("the kernel has no VLAN links"),
        other => other.expect("vlan"),
    }
    assert_eq!(lab.host.expect_link("br0.100").expect("vlan").vlan, Some(100));
}

#[test]
fn promiscuous_mode_and_names_change() {
    let lab = lab().expect("lab");
    lab.host.create_veth(&Veth { up: false, ..veth(&lab, "d0", None) }).expect("veth");
    let link = lab.host.expect_link("d0").expect("veth");
    assert_eq!((&link.kind, link.promiscuous, link.up), (&Kind::Veth, false, false));
    let change = Change { promiscuous: Some(true), name: Some("d1"), ..Change::default() };
    lab.host.change(link.index, &change).expect("change");
    lab.host.set_up(link.index).expect("up");
    let link = lab.host.expect_link("d1").expect("renamed");
    assert!(link.promiscuous && link.up);
    let back = Change { namespace: Some(lab.pod.as_fd()), ..Change::default() };
    lab.host.set_down(link.index).expect("down");
    lab.host.change(link.index, &back).expect("move");
    assert!(lab.inside.link_by_name("d1").expect("get").is_some());
}
