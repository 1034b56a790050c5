//! The order of a chain, what each plugin is given, and what happens when one fails.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use cni_types::Code;
use libcni::{Entry, Kind, NetworkList, Verb};
use serde_json::json;
use stage::{Reply, Script, Stage, good_answer, network};
use std::fs;
use std::time::Duration;

#[tokio::test]
async fn add_check_and_del_follow_the_order_and_pass_results_on() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    let net = network("net", "1.1.0", &["a", "b", "c"]);
    let mut pod = stage.pod("pod1");
    pod.args = vec![("IgnoreUnknown".into(), "1".into()), ("K".into(), "v=w".into())];
    let added = cni.add(&net, &pod).await.expect("add");
    let names: Vec<_> = added.result.interfaces.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let seen = script.seen();
    assert_eq!(seen[0].conf.get("prevResult"), None, "not for the first plugin");
    assert_eq!(seen[2].conf["prevResult"]["interfaces"][1]["name"], "b");
    assert_eq!(seen[0].env["CNI_CONTAINERID"], "pod1");
    assert_eq!(seen[0].env["CNI_IFNAME"], "eth0");
    assert_eq!(seen[0].env["CNI_NETNS"], pod.netns);
    assert_eq!(seen[0].env["CNI_ARGS"], "IgnoreUnknown=1;K=v=w");
    assert_eq!(seen[0].env["CNI_PATH"], stage.dir.join("bin").to_string_lossy());
    assert_eq!(script.calls(), ["ADD a", "ADD b", "ADD c"]);
    assert_eq!(stage.intents(), Vec::<String>::new());

    cni.check(&net, &stage.pod("pod1")).await.expect("check");
    let seen = script.seen();
    assert!(seen.iter().all(|s| s.conf["prevResult"] == added.document));
    assert_eq!(seen[0].env["CNI_ARGS"], "IgnoreUnknown=1;K=v=w", "those of ADD");
    assert_eq!(script.calls(), ["CHECK a", "CHECK b", "CHECK c"]);

    let done = cni.del(&net, &stage.pod("pod1")).await.expect("del");
    assert!(done.warnings.is_empty());
    assert!(script.seen().iter().all(|s| s.conf["prevResult"] == added.document));
    assert_eq!(script.calls(), ["DEL c", "DEL b", "DEL a"]);
    assert_eq!(stage.files("cache"), Vec::<String>::new());

    // Again, with nothing recorded: the plugins are run all the same, without a result.
    cni.del(&net, &stage.pod("pod1")).await.expect("del twice");
    assert!(script.seen().iter().all(|s| s.conf.get("prevResult").is_none()));
    assert_eq!(script.calls(), ["DEL c", "DEL b", "DEL a"]);
}

#[tokio::test]
async fn a_failed_add_is_undone_as_a_whole_and_all_failures_are_told() {
    let stage = Stage::new();
    let script = Script::new(|seen| match (seen.verb, seen.plugin.as_str()) {
        (Verb::Add, "b") => Reply::Fail(11, "pool: busy"),
        (Verb::Del, "a") => Reply::Fail(5, "link: stuck"),
        _ => good_answer(seen),
    });
    let cni = stage.cni(&script);
    let net = network("net", "1.0.0", &["a", "b", "c"]);
    let error = cni.add(&net, &stage.pod("p")).await.expect_err("add");
    assert_eq!(error.kind(), Kind::Plugin);
    assert_eq!(error.code(), Code::TryAgain);
    assert_eq!(error.subject(), "network \"net\": plugin \"b\" ADD");
    assert_eq!(error.also().len(), 1);
    assert_eq!(error.also()[0].subject(), "network \"net\": plugin \"a\" DEL");
    let seen = script.seen();
    let first_del = seen.iter().find(|s| s.verb == Verb::Del).expect("DEL");
    assert_eq!(first_del.conf["prevResult"]["interfaces"][0]["name"], "a");
    assert_eq!(script.calls(), ["ADD a", "ADD b", "DEL c", "DEL b", "DEL a"]);
    assert_eq!(stage.intents(), ["net@p@eth0"], "kept, as the undoing failed");
    assert_eq!(stage.files("cache"), Vec::<String>::new());
}

#[tokio::test]
async fn a_hanging_plugin_is_named_and_undone_on_a_fresh_deadline() {
    let mut stage = Stage::new();
    stage.settings.call_deadline = Duration::from_millis(300);
    let script = Script::new(|seen| match seen.verb {
        Verb::Add => Reply::Hang,
        _ => good_answer(seen),
    });
    let cni = stage.cni(&script);
    let error = cni.add(&network("net", "1.0.0", &["a"]), &stage.pod("p")).await.expect_err("add");
    assert_eq!(error.kind(), Kind::Timeout);
    let text = error.to_string();
    assert!(text.starts_with("network \"net\": plugin \"a\" ADD: gave no answer within 0.3 s"));
    assert!(error.also().is_empty(), "{text}");
    assert_eq!(script.calls(), ["ADD a", "DEL a"]);
    assert_eq!(stage.intents(), Vec::<String>::new());
}

#[tokio::test]
async fn an_add_whose_caller_went_away_is_undone() {
    let stage = Stage::new();
    let script = Script::new(|seen| match (seen.verb, seen.plugin.as_str()) {
        (Verb::Add, "b") => Reply::Hang,
        _ => good_answer(seen),
    });
    let cni = stage.cni(&script);
    let net = network("net", "1.0.0", &["a", "b"]);
    let pod = stage.pod("p");
    let add = cni.add(&net, &pod);
    tokio::time::timeout(Duration::from_millis(300), add).await.expect_err("hangs");
    cni.drain().await;
    assert_eq!(script.calls(), ["ADD a", "ADD b", "DEL b", "DEL a"]);
    assert_eq!(stage.intents(), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_add_is_refused_and_harms_nothing() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    let net = network("net", "1.1.0", &["a"]);
    cni.add(&net, &stage.pod("p")).await.expect("add");
    script.calls();
    let error = cni.add(&net, &stage.pod("p")).await.expect_err("twice");
    assert_eq!(error.code(), Code::Conflict);
    assert_eq!(script.calls(), Vec::<String>::new());
    cni.check(&net, &stage.pod("p")).await.expect("still there");

    // Its namespace is gone: what is left of it is undone first.
    fs::remove_file(stage.dir.join("netns")).expect("netns");
    script.calls();
    cni.add(&net, &stage.pod("p")).await.expect("anew");
    assert_eq!(script.calls(), ["DEL a", "ADD a"]);
}

#[tokio::test]
async fn del_stops_at_the_first_failure_and_can_be_tried_again() {
    let stage = Stage::new();
    let script = Script::new(|seen| match (seen.verb, seen.plugin.as_str()) {
        (Verb::Del, "b") => Reply::Fail(11, "later"),
        _ => good_answer(seen),
    });
    let cni = stage.cni(&script);
    let net = network("net", "0.4.0", &["a", "b", "c"]);
    cni.add(&net, &stage.pod("p")).await.expect("add");
    script.calls();
    let error = cni.del(&net, &stage.pod("p")).await.expect_err("del");
    assert_eq!(error.subject(), "network \"net\": plugin \"b\" DEL");
    assert_eq!(script.calls(), ["DEL c", "DEL b"]);
    assert_eq!(stage.files("cache"), ["net-p-eth0"]);
}

#[tokio::test]
async fn old_networks_get_no_result_on_del_and_have_no_check() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    let net = network("net", "0.3.1", &["a"]);
    cni.add(&net, &stage.pod("p")).await.expect("add");
    let error = cni.check(&net, &stage.pod("p")).await.expect_err("check");
    assert_eq!(error.code(), Code::IncompatibleVersion);
    script.calls();
    cni.del(&net, &stage.pod("p")).await.expect("del");
    assert_eq!(script.seen()[0].conf.get("prevResult"), None);
    cni.status(&net).await.expect("no STATUS");
    assert_eq!(script.calls(), ["DEL a"]);
}

#[tokio::test]
async fn results_of_other_versions_are_converted_for_the_next_plugin() {
    let stage = Stage::new();
    let script = Script::new(|seen| match (seen.verb, seen.plugin.as_str()) {
        (Verb::Add, "old") => {
            let ip4 = json!({"ip": "10.1.2.3/24", "gateway": "10.1.2.1"});
            Reply::Out(json!({"cniVersion": "0.2.0", "ip4": ip4}).to_string())
        }
        (Verb::Add, "bare") => Reply::Out(json!({"ips": [], "x": 1}).to_string()),
        _ => good_answer(seen),
    });
    let cni = stage.cni(&script);
    let net = network("net", "1.0.0", &["old", "bare"]);
    let added = cni.add(&net, &stage.pod("p")).await.expect("add");
    let prev = &script.seen()[1].conf["prevResult"];
    assert_eq!(prev["cniVersion"], "1.0.0");
    assert_eq!(prev["ips"][0]["address"], "10.1.2.3/24");
    assert_eq!(added.document, json!({"cniVersion": "1.0.0", "ips": [], "x": 1}));
}

#[tokio::test]
async fn answers_that_are_no_results_are_quoted() {
    for (reply, part) in [
        ("hello world", "hello world"),
        ("", "printed no result"),
        ("{\"ips\": [{\"address\": 7}]}", "ips[0].address"),
        ("[]", "not a JSON object"),
    ] {
        let stage = Stage::new();
        let script = Script::new(move |seen| match seen.verb {
            Verb::Add => Reply::Out(reply.to_owned()),
            _ => good_answer(seen),
        });
        let net = network("net", "1.0.0", &["a"]);
        let error = stage.cni(&script).add(&net, &stage.pod("p")).await.expect_err(reply);
        assert_eq!(error.kind(), Kind::Broken, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(error.subject(), "network \"net\": plugin \"a\" ADD");
    }
}

#[tokio::test]
async fn the_cached_configuration_detaches_when_the_file_is_gone() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    let text = json!({"name": "net", "cniVersion": "1.0.0", "plugins": [
        {"type": "a", "capabilities": {"mac": true}, "key": "as it was"}]});
    let net = NetworkList::from_bytes(text.to_string().as_bytes()).expect("list");
    let mut pod = stage.pod("p");
    pod.capability_args.insert("mac".to_owned(), json!("02:00:00:00:00:01"));
    cni.add(&net, &pod).await.expect("add");
    assert!(matches!(cni.record("net", &pod).await, Ok(Some(Entry::Record(_)))));
    script.calls();
    let done = cni.del_recorded("net", &pod.attachment(), Some("")).await.expect("del");
    assert!(done.is_some());
    let seen = script.seen();
    assert_eq!(seen[0].conf["key"], "as it was");
    assert_eq!(seen[0].conf["runtimeConfig"], json!({"mac": "02:00:00:00:00:01"}));
    assert_eq!(seen[0].env["CNI_NETNS"], "");
    let done = cni.del_recorded("net", &pod.attachment(), None).await.expect("nothing known");
    assert!(done.is_none());
}

#[tokio::test]
async fn switches_and_versions() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    let text = json!({"name": "net", "cniVersion": "1.1.0", "disableCheck": "TRUE",
        "disableGC": true, "plugins": [{"type": "a", "capabilities": {"ips": true}}]});
    let net = NetworkList::from_bytes(text.to_string().as_bytes()).expect("list");
    cni.check(&net, &stage.pod("p")).await.expect("disabled");
    let done = cni.gc(&net, &libcni::Valid::These(&[])).await.expect("disabled");
    assert!(done.disabled);
    assert_eq!(script.calls(), Vec::<String>::new());
    let found = cni.validate(&net).await.expect("validate");
    assert_eq!(found.versions["a"], ["0.4.0", "1.1.0"]);
    assert!(found.capabilities.contains("ips"));
    let other = network("other", "1.0.0", &["a", "b", "a"]);
    let error = cni.validate(&other).await.expect_err("version");
    assert_eq!((error.code(), error.also().len()), (Code::IncompatibleVersion, 1));
    assert_eq!(script.calls(), ["VERSION a", "VERSION a", "VERSION b"]);
}

#[tokio::test]
async fn status_ends_at_the_first_plugin_that_cannot_serve() {
    let stage = Stage::new();
    let script = Script::new(|seen| match seen.plugin.as_str() {
        "b" => Reply::Fail(51, "daemon: down"),
        _ => good_answer(seen),
    });
    let net = network("net", "1.1.0", &["a", "b", "c"]);
    let error = stage.cni(&script).status(&net).await.expect_err("status");
    assert_eq!(error.code(), Code::LimitedConnectivity);
    assert_eq!(error.subject(), "network \"net\": plugin \"b\" STATUS");
    assert_eq!(script.calls(), ["STATUS a", "STATUS b"]);
}
