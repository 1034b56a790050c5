//! GC and STATUS.

use crate::trial::set;
use crate::{Subject, Trial};
use serde_json::{Value, json};

pub(crate) fn gc_keeps_the_valid_and_frees_the_rest(subject: &Subject) {
    let trial = Trial::new(subject, "gc");
    let result = trial.add(&trial.a).ok();
    let only_a = trial.state();
    trial.add(&trial.b).ok();
    let both = trial.state();
    trial.gc(&[&trial.a, &trial.b]).ok();
    trial.same(&both, "GC with both valid");
    if !subject.collects {
        return;
    }
    trial.gc(&[&trial.a]).ok();
    trial.same(&only_a, "GC with the first valid");
    trial.check(&trial.a, &result).ok();
    for round in ["GC with none valid", "the same again"] {
        trial.gc(&[]).ok();
        trial.nothing_left(round);
    }
    // Another interface of a container is another attachment. Rules that are the container's as
    // a whole may stay with it.
    if !subject.wiring.is_before() {
        trial.add(&trial.a).ok();
        trial.plugin().gc(&trial.conf(), &[(trial.a.pod.id(), "net7")]).ok();
        trial.nothing_left("GC with another interface valid");
    }
    // A runtime may have forgotten pods whose namespace is gone too.
    let gone = trial.member("gone", 4);
    let wired = trial.state();
    trial.add(&gone).ok();
    gone.pod.delete();
    trial.gc(&[]).ok();
    trial.nothing_stays(&wired, "GC with the namespace gone");
}

pub(crate) fn gc_leaves_other_networks_alone(subject: &Subject) {
    let trial = Trial::new(subject, "gc-other");
    trial.add(&trial.a).ok();
    let state = trial.state();
    for name in ["other", "ne", "net1", "net.x"] {
        let conf = set(&trial.conf(), "/name", name.into());
        trial.plugin().gc(&conf, &[]).ok();
        trial.same(&state, &format!("GC of network {name}"));
    }
}

pub(crate) fn gc_needs_a_list(subject: &Subject) {
    let trial = Trial::new(subject, "gc-list");
    trial.add(&trial.a).ok();
    let state = trial.state();
    let key = "cni.dev/valid-attachments";
    let without = trial.plugin().node_verb("GC", &trial.conf());
    trial.refused(&without, trial.own(7), key, trial.version().as_str());
    let mut conf = trial.conf();
    conf[key] = json!([{"containerID": 5}]);
    trial.refused(
        &trial.plugin().node_verb("GC", &conf),
        trial.own(6),
        key,
        trial.version().as_str(),
    );
    trial.same(&state, "GC without a list");
}

pub(crate) fn status_is_ready(subject: &Subject) {
    let trial = Trial::new(subject, "status");
    let conf = trial.conf();
    assert_eq!(trial.plugin().status(&conf).ok(), Value::Null);
    trial.nothing_left("STATUS");
    let cold = Trial::cold(subject, "status-cold");
    assert_eq!(cold.plugin().status(&cold.conf()).ok(), Value::Null);
    let diff = cold.before().node().diff(&cold.snapshot());
    assert!(diff.is_empty(), "{}: STATUS on a fresh node changes it:\n{diff}", subject.name);
}

pub(crate) fn status_without_the_ipam_plugin(subject: &Subject) {
    let ipam = subject.needs.ipam.unwrap_or_default();
    let trial = Trial::new(subject, "status-ipam");
    let empty = trial.lab.tmp_dir().to_string_lossy().into_owned();
    let alone = || trial.plugin().env("CNI_PATH", empty.clone());
    trial.refused_cleanly(&alone().status(&trial.conf()), 50, ipam);
    let added = alone().add(&trial.a.pod, subject.ifname, &trial.a.conf);
    trial.refused_cleanly(&added, trial.own(7), ipam);
}

pub(crate) fn status_and_add_with_an_exhausted_pool(subject: &Subject) {
    let pool = subject.needs.pool.unwrap_or_default();
    let trial = Trial::new(subject, "status-pool");
    let one =
        json!([[{"subnet": "10.88.0.0/16", "rangeStart": "10.88.7.9", "rangeEnd": "10.88.7.9"}]]);
    let conf = set(&trial.conf(), pool, one.clone());
    let (a, b) = (trial.a.with(pool, one.clone()), trial.b.with(pool, one));
    trial.plugin().status(&conf).ok();
    let result = trial.plugin().add(&trial.a.pod, subject.ifname, &a).ok();
    assert_eq!(lab::address(&result, 0).to_string(), "10.88.7.9");
    let state = trial.state();
    trial.refused(&trial.plugin().status(&conf), 50, "10.88.7.9", trial.version().as_str());
    let second = trial.plugin().add(&trial.b.pod, subject.ifname, &b);
    trial.refused(&second, trial.own(101), "10.88.7.9", trial.version().as_str());
    trial.same(&state, "ADD on an exhausted pool");
    trial.plugin().del(&trial.a.pod, subject.ifname, &a).ok();
    trial.plugin().status(&conf).ok();
    trial.plugin().add(&trial.b.pod, subject.ifname, &b).ok();
    trial.plugin().del(&trial.b.pod, subject.ifname, &b).ok();
    trial.nothing_added("both pods had the only address");
}

pub(crate) fn status_without_a_program(subject: &Subject) {
    let program = subject.needs.program.unwrap_or_default();
    let trial = Trial::new(subject, "status-program");
    // Where Debian has them; a plugin may look there whatever PATH says.
    let empty = trial.lab.tmp_dir().to_string_lossy().into_owned();
    let bare = || trial.plugin().env("PATH", empty.clone()).hiding("/usr/sbin");
    trial.refused_cleanly(&bare().status(&trial.conf()), 50, program);
    let added = bare().add(&trial.a.pod, subject.ifname, &trial.a.conf);
    trial.refused_cleanly(&added, trial.own(104), program);
}
