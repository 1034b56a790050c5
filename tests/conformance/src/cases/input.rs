//! Standard input and environment.

use crate::{Subject, Trial};
use lab::{Call, Outcome};
use serde_json::{Value, json};

fn raw(trial: &Trial<'_>, command: &str, stdin: &[u8]) -> Outcome {
    let netns = trial.a.netns().to_string_lossy().into_owned();
    let call = Call { command, id: trial.a.pod.id(), netns: &netns, ifname: trial.subject.ifname };
    trial.plugin().raw(&call, stdin)
}

pub(crate) fn bad_json(subject: &Subject) {
    let trial = Trial::new(subject, "bad-json");
    let deep = "[".repeat(200_000);
    let within = format!("{{\"x\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let texts: [&[u8]; 10] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"42",
        b"\"x\"",
        b"{} {}",
        b"{\"name\": \"\xff\"}",
        deep.as_bytes(),
        within.as_bytes(),
    ];
    let verbs = trial.verbs(&["DEL", "CHECK", "GC", "STATUS"]);
    let calls = texts.map(|text| ("ADD", text)).into_iter();
    for (verb, text) in calls.chain(verbs.map(|verb| (verb, b"{".as_slice()))) {
        let outcome = raw(&trial, verb, text);
        if subject.maker.is_podloom() {
            trial.refused(&outcome, 6, "configuration", "1.1.0");
        } else {
            // null is no configuration, or an empty one.
            let code = outcome.code();
            assert!([6, 7].contains(&code), "{}: the code is not 6: {outcome}", subject.name);
        }
    }
    trial.nothing_left("bad JSON");
}

pub(crate) fn unknown_version(subject: &Subject) {
    let trial = Trial::new(subject, "version-unknown");
    for version in ["9.9.9", "1.2.0", "0.5.0", "1.1", "latest"] {
        let conf = trial.a.with("/cniVersion", version.into());
        let outcome = trial.plugin().add(&trial.a.pod, subject.ifname, &conf);
        trial.refused(&outcome, 1, version, version);
        if !subject.maker.is_podloom() {
            continue;
        }
        let details = outcome.error()["details"].as_str().unwrap_or_default().to_owned();
        assert!(details.contains("0.4.0"), "the versions are not listed: {outcome}");
    }
    trial.nothing_left("unknown versions");
}

pub(crate) fn unknown_keys_and_nulls(subject: &Subject) {
    let trial = Trial::new(subject, "unknown-keys");
    let mut conf = trial.a.conf.clone();
    for key in ["unknownKey", "x.example/with-slash", "plugins", "keyA1"] {
        conf[key] = json!({"deep": [1, {"a": null}]});
    }
    conf["nullKey"] = Value::Null;
    for key in ["dns", "args", "runtimeConfig", "prevResult", "ipam"] {
        if conf.get(key).is_none() {
            conf[key] = Value::Null;
        } else if let Some(object) = conf[key].as_object_mut() {
            object.insert("unknownKey".to_owned(), json!([true]));
            object.insert("nullKey".to_owned(), Value::Null);
        }
    }
    let result = trial.plugin().add(&trial.a.pod, subject.ifname, &conf).ok();
    trial.plugin().check(&trial.a.pod, subject.ifname, &conf, &result).ok();
    if trial.version().has_gc() {
        trial.plugin().status(&conf).ok();
    }
    let args = trial.plugin().env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=a;UNKNOWN=b");
    args.del(&trial.a.pod, subject.ifname, &conf).ok();
    trial.nothing_left("unknown keys");
    let args = trial.plugin().env("CNI_ARGS", "K8S_POD_NAMESPACE=x;UNKNOWN=b");
    args.add(&trial.a.pod, subject.ifname, &trial.a.conf).ok();
    args.del(&trial.a.pod, subject.ifname, &trial.a.conf).ok();
    trial.nothing_left("unknown CNI_ARGS");
    let bad = trial.plugin().env("CNI_ARGS", "no-equals-sign");
    let outcome = bad.add(&trial.a.pod, subject.ifname, &trial.a.conf);
    trial.refused_cleanly(&outcome, 4, "CNI_ARGS");
}

pub(crate) fn wrong_types(subject: &Subject) {
    let trial = Trial::new(subject, "wrong-types");
    let version = trial.version().as_str();
    let result = |ip: &str| format!(r#"{{"cniVersion": "{version}", "ips": [{ip}]}}"#);
    let common: [(&str, &str, &str); 5] = [
        ("/name", "5", "name"),
        ("/type", "[]", "type"),
        ("/prevResult", "\"x\"", "prevResult"),
        ("/prevResult", &result(r#"{"address": 5}"#), "prevResult: ips[0].address"),
        ("/prevResult", &result(r#"{"address": "x"}"#), "prevResult: ips[0].address"),
    ];
    let add_with = |pointer: &str, value: &str| {
        let conf = trial.a.with(pointer, serde_json::from_str(value).expect("JSON in the table"));
        let mut outcome = trial.plugin().add(&trial.a.pod, subject.ifname, &conf);
        outcome.what = format!("ADD with {pointer} = {value}");
        outcome
    };
    for (pointer, value, path) in common {
        trial.refused(&add_with(pointer, value), 6, path, version);
        trial.nothing_left(&format!("{pointer} = {value}"));
    }
    for (pointer, value, path) in subject.wrong {
        let outcome = add_with(pointer, value);
        trial.refused(&outcome, 6, path, version);
        trial.refused_naming(&outcome, 6, path);
        trial.nothing_left(&format!("{pointer} = {value}"));
    }
    let conf = trial.a.with("/cniVersion", json!(1.1));
    let outcome = trial.plugin().add(&trial.a.pod, subject.ifname, &conf);
    trial.refused_cleanly(&outcome, 6, "cniVersion");
}

pub(crate) fn invalid_values(subject: &Subject) {
    let trial = Trial::new(subject, "invalid");
    for (pointer, value, path) in subject.invalid {
        let conf = trial.a.with(pointer, serde_json::from_str(value).expect("JSON in the table"));
        let mut outcome = trial.plugin().add(&trial.a.pod, subject.ifname, &conf);
        outcome.what = format!("ADD with {pointer} = {value}");
        trial.refused(&outcome, 7, path, trial.version().as_str());
        trial.refused_naming(&outcome, 7, path);
        trial.nothing_left(&format!("{pointer} = {value}"));
    }
}

pub(crate) fn missing_variables(subject: &Subject) {
    let trial = Trial::new(subject, "variables");
    let version = trial.version().as_str();
    let of_add = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
    let of_del = ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"];
    let table: [(&str, &[&str]); 5] = [
        ("ADD", &of_add),
        ("CHECK", &of_add),
        ("DEL", &of_del),
        ("GC", &["CNI_PATH"]),
        ("STATUS", &["CNI_PATH"]),
    ];
    let known: Vec<_> = trial.verbs(&["ADD", "CHECK", "DEL", "GC", "STATUS"]).collect();
    for (verb, variables) in table.into_iter().filter(|(verb, _)| known.contains(verb)) {
        for variable in variables {
            for plugin in [trial.plugin().without_env(variable), trial.plugin().env(variable, "")] {
                let outcome = plugin.attachment(verb, &trial.a.pod, subject.ifname, &trial.a.conf);
                trial.refused(&outcome, 4, variable, version);
            }
        }
        let without =
            variables.iter().fold(trial.plugin(), |plugin, variable| plugin.without_env(variable));
        let outcome = without.attachment(verb, &trial.a.pod, subject.ifname, &trial.a.conf);
        variables.iter().for_each(|v| trial.refused(&outcome, 4, v, version));
    }
    trial.nothing_left("missing variables");
}

pub(crate) fn unknown_command(subject: &Subject) {
    let trial = Trial::new(subject, "command");
    for command in ["add", "UPDATE", "ADD ", "../ADD"] {
        let outcome = raw(&trial, command, trial.a.conf.to_string().as_bytes());
        trial.refused(&outcome, 4, "CNI_COMMAND", trial.version().as_str());
    }
    trial.nothing_left("unknown commands");
    if !subject.maker.is_podloom() {
        return;
    }
    let person = raw(&trial, "", b"");
    assert!(person.success() && person.stdout.is_empty(), "{person}");
    assert!(person.stderr.contains("1.1.0"), "{person}");
}
