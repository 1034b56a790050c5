//! Versions of the specification.

use crate::{Subject, Trial};
use cni_types::Version;
use serde_json::{Value, json};

pub(crate) fn version_answers_in_the_version_asked(subject: &Subject) {
    let trial = Trial::new(subject, "version");
    let all: Vec<_> = subject.versions().iter().map(|v| v.as_str()).collect();
    let unknown = subject.maker.is_podloom().then_some("1.7.0");
    for asked in all.iter().copied().chain(unknown) {
        let answer = trial.plugin().version(asked).ok();
        trial.of_version(&answer, asked, &format!("VERSION with {asked}"));
        let told = answer["supportedVersions"].as_array().cloned().unwrap_or_default();
        // Others may speak versions that are not known here.
        let missing = all.iter().find(|version| !told.contains(&json!(version)));
        assert_eq!(missing, None, "{}: not told: {answer}", subject.name);
        let exact = !subject.maker.is_podloom() || told.len() == all.len();
        assert!(exact, "{}: {answer}", subject.name);
    }
    trial.nothing_left("VERSION");
}

pub(crate) fn every_version_of_the_specification(subject: &Subject) {
    let trial = Trial::new(subject, "versions");
    for version in subject.versions().iter().copied() {
        let conf = trial.a.of_version(version);
        if version < Version::V0_3_0 && !subject.addresses {
            let outcome = trial.plugin().add(&trial.a.pod, subject.ifname, &conf);
            trial.refused(&outcome, trial.own(1), version.as_str(), version.as_str());
            trial.nothing_left("a result that the version cannot tell");
            continue;
        }
        let result = trial.plugin().add(&trial.a.pod, subject.ifname, &conf).ok();
        trial.of_version(&result, version.as_str(), "ADD");
        shape(version, &result);
        if version.has_check() {
            trial.plugin().check(&trial.a.pod, subject.ifname, &conf, &result).ok();
        }
        trial.plugin().del(&trial.a.pod, subject.ifname, &conf).ok();
        trial.nothing_left(version.as_str());
    }
    if !subject.addresses || !subject.versions().contains(&Version::V0_1_0) {
        return;
    }
    // Without the key it is 0.1.0, as in the first specification.
    let mut conf = trial.a.of_version(Version::V0_1_0);
    conf.as_object_mut().expect("a configuration").remove("cniVersion");
    let result = trial.plugin().add(&trial.a.pod, subject.ifname, &conf).ok();
    shape(Version::V0_1_0, &result);
    trial.plugin().del(&trial.a.pod, subject.ifname, &conf).ok();
    trial.nothing_left("no cniVersion");
}

/// Only keys that the version has.
fn shape(version: Version, result: &Value) {
    let legacy = version <= Version::V0_2_0;
    let allowed: &[&str] = if legacy {
        &["cniVersion", "ip4", "ip6", "dns"]
    } else {
        &["cniVersion", "interfaces", "ips", "routes", "dns"]
    };
    keys(result, allowed);
    let each = |key: &str, allowed: &[&str]| {
        result[key].as_array().into_iter().flatten().for_each(|entry| keys(entry, allowed));
    };
    if version < Version::V1_1_0 {
        each("interfaces", &["name", "mac", "sandbox"]);
        each("routes", &["dst", "gw"]);
    }
    let ips: &[&str] = if version < Version::V1_0_0 {
        for ip in result["ips"].as_array().into_iter().flatten() {
            let four = ip["address"].as_str().is_some_and(|a| a.contains('.'));
            assert_eq!(ip["version"], if four { "4" } else { "6" }, "{result}");
        }
        &["version", "interface", "address", "gateway"]
    } else {
        &["interface", "address", "gateway"]
    };
    each("ips", ips);
}

fn keys(object: &Value, allowed: &[&str]) {
    for key in object.as_object().expect("an object").keys() {
        assert!(allowed.contains(&key.as_str()), "{key} is of another version: {object}");
    }
}

/// An error that has nothing to do with the version, which was read before it.
pub(crate) fn errors_in_the_version_asked(subject: &Subject) {
    let trial = Trial::new(subject, "error-versions");
    for version in subject.versions() {
        let conf = trial.a.of_version(*version);
        let plugin = trial.plugin().env("CNI_CONTAINERID", "../x");
        let outcome = plugin.add(&trial.a.pod, subject.ifname, &conf);
        trial.of_version(&outcome.error(), version.as_str(), "ADD with a bad container ID");
    }
    trial.nothing_left("errors");
}

pub(crate) fn verbs_younger_than_the_version(subject: &Subject) {
    let trial = Trial::new(subject, "verbs");
    for (verb, version) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")] {
        let older = Version::parse(version).expect("a version");
        if !subject.versions().contains(&older) {
            continue;
        }
        let mut conf = trial.a.of_version(older);
        conf["cni.dev/valid-attachments"] = json!([]);
        let outcome = trial.plugin().attachment(verb, &trial.a.pod, subject.ifname, &conf);
        trial.refused(&outcome, 1, verb, version);
    }
    trial.nothing_left("verbs that the version does not have");
}
