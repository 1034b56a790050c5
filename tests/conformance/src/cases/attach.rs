//! ADD and DEL in all orders.

use crate::{Repeat, Subject, Trial};
use serde_json::{Value, json};

pub(crate) fn add_and_del(subject: &Subject) {
    let trial = Trial::new(subject, "add-del");
    let result = trial.add(&trial.a).ok();
    trial.of_version(&result, trial.version().as_str(), "ADD");
    let state = trial.state();
    let added = trial.before().node().diff(state.node()).added;
    for text in subject.makes {
        assert!(added.iter().any(|l| l.contains(text)), "{}: no {text} in {added:?}", subject.name);
    }
    if subject.reports_only {
        assert_eq!(trial.before(), &state, "{}: ADD changed something", subject.name);
        assert_ne!(result["ips"], Value::Null, "{}: ADD reported nothing", subject.name);
    } else if subject.makes.is_empty()
        && (subject.maker.is_podloom() || !subject.wiring.is_before())
    {
        assert_ne!(trial.before(), &state, "{}: ADD did nothing", subject.name);
    }
    trial.check(&trial.a, &result).ok();
    trial.same(&state, "CHECK");
    // DEL as a runtime runs it that has kept the result.
    let mut conf = trial.a.conf.clone();
    conf["prevResult"] = result;
    let silent = trial.plugin().del(&trial.a.pod, subject.ifname, &conf);
    assert_eq!(silent.ok(), Value::Null, "{}: DEL prints nothing", subject.name);
    trial.nothing_left("ADD, DEL with prevResult");
    let again = trial.add(&trial.a).ok();
    trial.check(&trial.a, &again).ok();
    trial.del(&trial.a).ok();
    trial.nothing_left("ADD, DEL without prevResult");
}

pub(crate) fn cold_add_and_del(subject: &Subject) {
    let trial = Trial::cold(subject, "cold");
    trial.add(&trial.a).ok();
    trial.del(&trial.a).ok();
    let diff = trial.before().node().diff(&trial.snapshot()).without(subject.stays);
    assert!(diff.is_empty(), "{}: left on a fresh node:\n{diff}", subject.name);
}

pub(crate) fn add_twice(subject: &Subject) {
    let trial = Trial::new(subject, "add-twice");
    let result = trial.add(&trial.a).ok();
    let state = trial.state();
    let second = trial.add(&trial.a);
    match subject.repeat {
        Repeat::Refused(about) => {
            trial.refused(&second, trial.own(102), about, trial.version().as_str());
            trial.same(&state, "a second ADD");
        }
        Repeat::Accepted => {
            second.ok();
            // A record of it may tell that it was made anew.
            let diff = state.node().diff(&trial.snapshot()).without(&["file: run/"]);
            assert!(diff.is_empty(), "{}: a second ADD:\n{diff}", subject.name);
        }
        Repeat::Either if second.success() => {}
        Repeat::Either => trial.refused(&second, trial.own(102), "", trial.version().as_str()),
    }
    if subject.repeat != Repeat::Either {
        trial.check(&trial.a, &result).ok();
    }
    trial.del(&trial.a).ok();
    trial.nothing_left("ADD, ADD, DEL");
}

pub(crate) fn del_twice(subject: &Subject) {
    let trial = Trial::new(subject, "del-twice");
    trial.del(&trial.a).ok();
    trial.nothing_left("DEL without ADD");
    trial.add(&trial.b).ok();
    let state = trial.state();
    trial.add(&trial.a).ok();
    for round in ["DEL", "DEL, DEL"] {
        trial.del(&trial.a).ok();
        trial.same(&state, round);
    }
    trial.del(&trial.b).ok();
    trial.nothing_left("DEL of both pods");
}

pub(crate) fn del_without_netns(subject: &Subject) {
    let trial = Trial::new(subject, "del-no-netns");
    if !subject.collects {
        // Its state is in the pod, which DEL cannot find without a path; it ends with the pod.
        trial.plugin().del_without_netns(&trial.a.pod, subject.ifname, &trial.conf()).ok();
        return trial.nothing_left("DEL without CNI_NETNS");
    }
    for with_result in [false, true] {
        let result = trial.add(&trial.a).ok();
        let mut conf = trial.a.conf.clone();
        conf["prevResult"] = if with_result { result } else { Value::Null };
        for _ in 0..2 {
            trial.plugin().del_without_netns(&trial.a.pod, subject.ifname, &conf).ok();
            trial.nothing_left("DEL with an empty CNI_NETNS");
        }
        trial.add(&trial.a).ok();
        let unset = trial.plugin().without_env("CNI_NETNS");
        unset.del(&trial.a.pod, subject.ifname, &conf).ok();
        trial.nothing_left("DEL without CNI_NETNS");
    }
}

pub(crate) fn del_after_the_namespace_is_gone(subject: &Subject) {
    let trial = Trial::new(subject, "del-gone");
    for (name, number, with_result) in [("x", 4, true), ("y", 5, false)] {
        let member = trial.member(name, number);
        let wired = trial.state();
        let result = trial.add(&member).ok();
        member.pod.delete();
        let mut conf = member.conf.clone();
        conf["prevResult"] = if with_result { result } else { Value::Null };
        for _ in 0..2 {
            trial.plugin().del(&member.pod, subject.ifname, &conf).ok();
        }
        trial.nothing_stays(&wired, "DEL with the namespace gone");
    }
}

/// A check that was tightened must not strand the pods from before.
pub(crate) fn del_with_a_configuration_that_add_refuses(subject: &Subject) {
    let trial = Trial::new(subject, "del-invalid");
    for (pointer, value, _) in subject.invalid.iter().filter(|(p, ..)| !p.starts_with("/ipam")) {
        trial.add(&trial.a).ok();
        let value = serde_json::from_str(value).expect("JSON in the table");
        let conf = trial.a.with(pointer, value);
        let done = trial.plugin().del(&trial.a.pod, subject.ifname, &conf);
        assert!(done.success(), "{}: {pointer}: {done}", subject.name);
        trial.nothing_left(pointer);
    }
}

/// The result in a DEL comes from a cache that others may have written: it must not widen what
/// DEL removes.
pub(crate) fn del_with_the_result_of_another_pod(subject: &Subject) {
    let trial = Trial::new(subject, "del-forged");
    let other = trial.add(&trial.b).ok();
    let state = trial.state();
    let version = trial.version().as_str();
    let node = json!({"cniVersion": version, "interfaces": [{"name": "lo"}, {"name": "cni0"}],
        "ips": [{"address": "10.88.0.1/16"}, {"address": "127.0.0.1/8"}]});
    for (what, forged) in [("another pod", &other), ("the node", &node)] {
        let mut conf = trial.a.conf.clone();
        conf["prevResult"] = forged.clone();
        for verb in ["DEL", "DEL"] {
            let outcome = trial.plugin().attachment(verb, &trial.a.pod, subject.ifname, &conf);
            assert!(outcome.success(), "{}: {outcome}", subject.name);
        }
        trial.plugin().del_without_netns(&trial.a.pod, subject.ifname, &conf).ok();
        trial.same(&state, &format!("DEL with a result of {what}"));
    }
    trial.check(&trial.b, &other).ok();
    trial.del(&trial.b).ok();
    trial.nothing_left("DEL");
}
