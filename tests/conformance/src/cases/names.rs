//! Names that would leave their place.

use crate::{Subject, Trial};
use lab::Call;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;

/// What the specification allows and podloom's plugins refuse.
fn own<'t>(subject: &Subject, text: &'t str) -> Option<&'t str> {
    subject.maker.is_podloom().then_some(text)
}

pub(crate) fn hostile_container_ids(subject: &Subject) {
    let trial = Trial::new(subject, "ids");
    let long = "x".repeat(1024);
    let outside = ["../x", "a/b", ".", "..", "a b", "a\nb", "é", "-rf", ";reboot"];
    for id in outside.into_iter().chain(own(subject, &long)) {
        for verb in ["ADD", "DEL"] {
            let plugin = trial.plugin().env("CNI_CONTAINERID", id);
            let mut outcome = plugin.attachment(verb, &trial.a.pod, subject.ifname, &trial.a.conf);
            outcome.what = format!("{verb} with the container ID {id:?}");
            trial.refused(&outcome, 4, "CNI_CONTAINERID", trial.version().as_str());
        }
    }
    trial.nothing_left("hostile container IDs");
    // The longest that is allowed works, rules and aliases included.
    let longest = "x".repeat(200);
    let plugin = trial.plugin().env("CNI_CONTAINERID", longest.as_str());
    let result = plugin.add(&trial.a.pod, subject.ifname, &trial.a.conf).ok();
    plugin.check(&trial.a.pod, subject.ifname, &trial.a.conf, &result).ok();
    if trial.version().has_gc() {
        plugin.gc(&trial.conf(), &[(&longest, subject.ifname)]).ok();
    }
    plugin.check(&trial.a.pod, subject.ifname, &trial.a.conf, &result).ok();
    if subject.collects && subject.maker.is_podloom() {
        plugin.gc(&trial.conf(), &[]).ok();
        trial.nothing_left("GC of the longest container ID");
        plugin.add(&trial.a.pod, subject.ifname, &trial.a.conf).ok();
    }
    plugin.del(&trial.a.pod, subject.ifname, &trial.a.conf).ok();
    trial.nothing_left("the longest container ID");
}

pub(crate) fn hostile_interface_names(subject: &Subject) {
    let trial = Trial::new(subject, "ifnames");
    let outside = ["..", ".", "a/b", "a:b", "a b", "0123456789abcdef", "a\tb"];
    for name in outside.into_iter().chain(own(subject, "é")) {
        for verb in ["ADD", "DEL", "CHECK"] {
            let mut outcome = trial.plugin().attachment(verb, &trial.a.pod, name, &trial.a.conf);
            outcome.what = format!("{verb} with the interface name {name:?}");
            trial.refused(&outcome, 4, "CNI_IFNAME", trial.version().as_str());
        }
    }
    trial.nothing_left("hostile interface names");
}

pub(crate) fn hostile_network_names(subject: &Subject) {
    let trial = Trial::new(subject, "networks");
    let long = "n".repeat(1024);
    let outside = ["", "../../etc", "/etc", "..", "a/b", "a b", "\"; reboot"];
    for name in outside.into_iter().chain(own(subject, &long)) {
        let conf = trial.a.with("/name", name.into());
        for verb in trial.verbs(&["ADD", "DEL", "GC", "STATUS"]) {
            let mut outcome = trial.plugin().attachment(verb, &trial.a.pod, subject.ifname, &conf);
            outcome.what = format!("{verb} with the network name {name:?}");
            trial.refused(&outcome, 7, "name", trial.version().as_str());
        }
    }
    trial.nothing_left("hostile network names");
    let longest = trial.a.with("/name", "n".repeat(200).into());
    trial.plugin().add(&trial.a.pod, subject.ifname, &longest).ok();
    trial.plugin().del(&trial.a.pod, subject.ifname, &longest).ok();
    trial.nothing_added("the longest network name");
}

pub(crate) fn hostile_ipam_types(subject: &Subject) {
    let trial = Trial::new(subject, "ipam-types");
    for name in ["../../bin/sh", "/bin/sh", "..", ".", "a\\b", "no-such-plugin"] {
        let conf = trial.a.with("/ipam/type", name.into());
        let about = if name.contains('-') { name } else { "type" };
        for verb in ["ADD", "DEL"] {
            let outcome = trial.plugin().attachment(verb, &trial.a.pod, subject.ifname, &conf);
            trial.refused_cleanly(&outcome, trial.own(7), about);
        }
    }
}

pub(crate) fn hostile_namespaces(subject: &Subject) {
    let trial = Trial::new(subject, "namespaces");
    let version = trial.version().as_str();
    let dir = trial.lab.tmp_dir();
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    std::fs::write(path("file"), "").expect("a file");
    symlink(trial.lab.node().path(), path("own")).expect("a link");
    symlink(path("loop"), path("loop")).expect("a link");
    let node = trial.lab.node().path().to_string_lossy().into_owned();
    let strange = [
        path("file"),
        path("missing"),
        path("own"),
        path("loop"),
        node,
        dir.display().to_string(),
        "/proc/self/ns/net".into(),
        "/proc/self/ns/mnt".into(),
        "/dev/null".into(),
        "relative".into(),
    ];
    for netns in &strange {
        let call = |command| Call { command, id: trial.a.pod.id(), netns, ifname: subject.ifname };
        let conf = with_result(&trial.a.conf);
        let refused = |outcome| trial.refused(&outcome, trial.own(8), "CNI_NETNS", version);
        refused(trial.plugin().call(&call("ADD"), &trial.a.conf));
        refused(trial.plugin().call(&call("CHECK"), &conf));
        // For DEL each of them means that the pod's namespace is gone; a loop is an error or that.
        if !netns.ends_with("loop") {
            let deleted = trial.plugin().call(&call("DEL"), &conf);
            assert!(deleted.success(), "{}: {netns}: {deleted}", subject.name);
        }
        trial.nothing_left(netns);
    }
}

fn with_result(conf: &Value) -> Value {
    let mut conf = conf.clone();
    if conf.get("prevResult").is_none() {
        let version = conf["cniVersion"].clone();
        conf["prevResult"] = json!({"cniVersion": version, "interfaces": [], "ips": []});
    }
    conf
}

/// Podloom's plugins refuse 20 MB as such, and do not hold them several times. The specification
/// has no limit: others may take them.
pub(crate) fn oversized_input(subject: &Subject) {
    let trial = Trial::new(subject, "oversized");
    let conf = trial.a.with("/padding", "x".repeat(20_000_000).into());
    let outcome = trial.plugin().add(&trial.a.pod, subject.ifname, &conf);
    if subject.maker.is_podloom() || !outcome.success() {
        trial.refused_cleanly(&outcome, trial.own(6), "bytes");
    } else {
        trial.plugin().del(&trial.a.pod, subject.ifname, &conf).ok();
        trial.nothing_left("a huge configuration");
    }
    let large = trial.a.with("/padding", "x".repeat(200_000).into());
    trial.plugin().add(&trial.a.pod, subject.ifname, &large).ok();
    trial.plugin().del(&trial.a.pod, subject.ifname, &large).ok();
    trial.nothing_left("a large configuration");
}
