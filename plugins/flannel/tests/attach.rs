//! Pods attached by flannel on one node: what the delegate is told, what is noted, what is left. Needs
//! root.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use lab::{Bins, Lab, Plugin, for_golden};
use serde_json::{Value, json};
use stage::{flanneld, leases, network, records, subnet_file};
use std::os::unix::fs::PermissionsExt;

fn node(name: &str) -> Lab {
    let lab = Lab::new(name);
    flanneld(&lab, 1, 1450);
    lab
}

fn plugin(lab: &Lab) -> Plugin<'_> {
    lab.plugin("flannel")
}

#[test]
fn a_pod_gets_what_flanneld_tells() {
    let lab = node("flannel-golden");
    let pod = lab.pod("a");
    let conf = network(&lab, "cbr0");
    plugin(&lab).status(&conf).ok();
    let result = plugin(&lab).add(&pod, "eth0", &conf).ok();
    let mut shown = for_golden(&result, &pod);
    shown["interfaces"][1]["name"] = "PORT".into();
    let golden: Value = serde_json::from_str(include_str!("golden/result.json")).expect("JSON");
    assert_eq!(shown, golden);
    assert_eq!(pod.ip_json("link show eth0")[0]["mtu"], 1450);
    plugin(&lab).check(&pod, "eth0", &conf, &result).ok();
    // flanneld masquerades, so the delegate does not.
    assert!(lab.snapshot().matching("masquerade").is_empty());
    plugin(&lab).del(&pod, "eth0", &conf).ok();
    assert_eq!((records(&lab).len(), leases(&lab, "cbr0")), (0, 0));
}

/// Where flanneld does not masquerade, and with another delegate.
#[test]
fn another_delegate_masquerades_where_flanneld_does_not() {
    let lab = node("flannel-ptp");
    let text = std::fs::read_to_string(subnet_file(&lab)).expect("the subnet file");
    std::fs::write(subnet_file(&lab), text.replace("IPMASQ=true", "IPMASQ=false")).expect("write");
    let pod = lab.pod("a");
    let mut conf = network(&lab, "cbr0");
    conf["delegate"] = json!({"type": "ptp", "ipMasqBackend": "nftables", "mtu": 1300});
    let result = plugin(&lab).add(&pod, "eth0", &conf).ok();
    assert_eq!(pod.ip_json("link show eth0")[0]["mtu"], 1300, "the delegate's own key stands");
    lab.node().ping(lab::address(&result, 1)).expect("the pod answers");
    assert!(!lab.snapshot().matching("masquerade").is_empty());
    plugin(&lab).del(&pod, "eth0", &conf).ok();
    assert!(lab.snapshot().matching("masquerade").iter().all(|l| !l.contains("10.244.1.")));
}

/// Two networks, and one twice: the reference's records would overwrite each other.
#[test]
fn each_attachment_of_a_container_has_its_own_record() {
    let lab = node("flannel-two");
    let pod = lab.pod("a");
    let (one, mut two) = (network(&lab, "one"), network(&lab, "two"));
    two["delegate"]["bridge"] = json!("cni2");
    plugin(&lab).add(&pod, "eth0", &one).ok();
    let before = lab.snapshot();
    plugin(&lab).add(&pod, "net1", &two).ok();
    plugin(&lab).add(&pod, "net2", &one).ok();
    assert_eq!(
        records(&lab),
        [pod.id().to_owned(), format!("{}:net1", pod.id()), format!("{}:net2", pod.id())]
    );
    // In any order, with flanneld gone.
    std::fs::remove_file(subnet_file(&lab)).expect("the subnet file");
    plugin(&lab).del(&pod, "net1", &two).ok();
    plugin(&lab).del(&pod, "net2", &one).ok();
    let left = before.diff(&lab.snapshot()).without(&["cni2"]);
    assert!(left.is_empty(), "{left}");
    assert_eq!(leases(&lab, "two"), 0);
    plugin(&lab).del(&pod, "eth0", &one).ok();
    assert_eq!((records(&lab).len(), leases(&lab, "one")), (0, 0));
}

#[test]
fn a_record_that_is_lost_or_torn_strands_nobody() {
    let lab = node("flannel-lost");
    let pod = lab.pod("a");
    let conf = network(&lab, "cbr0");
    let record = lab.data_dir().join("flannel").join(pod.id());
    plugin(&lab).add(&pod, "eth0", &conf).ok();
    plugin(&lab).del(&pod, "eth0", &conf).ok();
    let before = lab.snapshot();
    for (is_torn, has_file, has_result) in
        [(false, true, false), (true, true, false), (true, false, true), (false, false, false)]
    {
        flanneld(&lab, 1, 1450);
        let result = plugin(&lab).add(&pod, "eth0", &conf).ok();
        match is_torn {
            true => std::fs::write(&record, "").expect("torn"),
            false => std::fs::remove_file(&record).expect("lost"),
        }
        if !has_file {
            std::fs::remove_file(subnet_file(&lab)).expect("the subnet file");
        }
        let mut given = conf.clone();
        if has_result {
            given["prevResult"] = result;
        }
        for _ in 0..2 {
            plugin(&lab).del(&pod, "eth0", &given).ok();
            before.assert_same(&lab.snapshot());
        }
    }
}

#[test]
fn flanneld_is_waited_for() {
    let lab = Lab::new("flannel-wait");
    let pod = lab.pod("a");
    let conf = network(&lab, "cbr0");
    let before = lab.snapshot();
    let file = subnet_file(&lab).display().to_string();
    let later = plugin(&lab).add(&pod, "eth0", &conf);
    assert_eq!((later.code(), later.msg().contains(&file)), (11, true), "{later}");
    assert_eq!(plugin(&lab).status(&conf).code(), 50);
    std::fs::write(subnet_file(&lab), "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=x\n")
        .expect("write");
    let wrong = plugin(&lab).add(&pod, "eth0", &conf);
    assert_eq!(
        (wrong.code(), wrong.msg().contains("line 2: FLANNEL_SUBNET")),
        (7, true),
        "{wrong}"
    );
    assert_eq!(plugin(&lab).status(&conf).code(), 50);
    for verb in ["DEL", "DEL"] {
        assert!(plugin(&lab).attachment(verb, &pod, "eth0", &conf).success());
    }
    plugin(&lab).gc(&conf, &[]).ok();
    before.assert_same(&lab.snapshot());
    flanneld(&lab, 1, 1450);
    let alone = plugin(&lab).env("CNI_PATH", lab.tmp_dir().to_string_lossy()).status(&conf);
    assert_eq!((alone.code(), alone.msg().contains("bridge")), (50, true), "{alone}");
    plugin(&lab).status(&conf).ok();
}

/// A node that got another subnet, as after its lease ran out.
#[test]
fn a_pod_of_a_former_subnet_is_seen_and_can_be_removed() {
    let lab = node("flannel-moved");
    let pod = lab.pod("a");
    let conf = network(&lab, "cbr0");
    let result = plugin(&lab).add(&pod, "eth0", &conf).ok();
    flanneld(&lab, 7, 1450);
    let drift = plugin(&lab).check(&pod, "eth0", &conf, &result);
    assert_eq!((drift.code(), drift.msg().contains("10.244.7.0/24")), (103, true), "{drift}");
    plugin(&lab).del(&pod, "eth0", &conf).ok();
    assert_eq!((records(&lab).len(), leases(&lab, "cbr0")), (0, 0));
}

#[test]
fn a_delegate_that_fails_or_dies_leaves_nothing() {
    let lab = node("flannel-fail");
    let pod = lab.pod("a");
    let conf = network(&lab, "cbr0");
    plugin(&lab).add(&pod, "eth0", &conf).ok();
    plugin(&lab).del(&pod, "eth0", &conf).ok();
    let before = lab.snapshot();
    let mut wrong = conf.clone();
    wrong["delegate"]["vlan"] = json!(5000);
    assert_eq!(plugin(&lab).add(&pod, "eth0", &wrong).code(), 7);
    before.assert_same(&lab.snapshot());
    // One that is killed when it has made its links; its child would end with it before that.
    let ours = Bins::ours();
    let wrapper = lab.tmp_dir().join("bridge");
    let script = format!(
        "#!/bin/sh\nunset PODLOOM_DELEGATE_PARENT\n{real}\ncode=$?\n[ \"$CNI_COMMAND\" = ADD ] && kill -9 $$\nexit $code\n",
        real = ours.program("bridge").display()
    );
    std::fs::write(&wrapper, script).expect("a wrapper");
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).expect("chmod");
    let path = format!("{}:{}", lab.tmp_dir().display(), ours.dir().display());
    let died = plugin(&lab).env("CNI_PATH", path).add(&pod, "eth0", &conf);
    assert_eq!((died.code(), died.msg().contains("bridge")), (104, true), "{died}");
    before.assert_same(&lab.snapshot());
}

/// What is in the way is not flannel's: a failed ADD does not touch it.
#[test]
fn the_interface_of_another_plugin_is_left_alone() {
    let lab = node("flannel-taken");
    let pod = lab.pod("a");
    pod.ip("link add eth0 type veth peer name far");
    let taken = plugin(&lab).add(&pod, "eth0", &network(&lab, "cbr0"));
    assert_eq!(taken.code(), 102, "{taken}");
    assert!(pod.has_link("eth0") && records(&lab).is_empty());
}

/// The reference's delegates have no GC of their own; a record is enough.
#[test]
fn gc_removes_what_a_reference_delegate_has_made() {
    let Some(reference) = lab::reference() else { return };
    let lab = node("flannel-gc");
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let path = reference.dir().to_string_lossy().into_owned();
    let mut conf = network(&lab, "cbr0");
    conf["cniVersion"] = json!("1.0.0");
    let with_reference = || plugin(&lab).env("CNI_PATH", path.clone());
    with_reference().add(&a, "eth0", &conf).ok();
    let before = lab.snapshot();
    with_reference().add(&b, "eth0", &conf).ok();
    b.delete();
    conf["cniVersion"] = json!("1.1.0");
    // The delegate's own GC may be unknown to it; what the record names is gone all the same.
    let _outcome = with_reference().gc(&conf, &[(a.id(), "eth0")]);
    let gone = || before.diff(&lab.snapshot()).is_empty();
    lab::until("the reference's pod is gone", lab::PATIENCE, gone);
}
