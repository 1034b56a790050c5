//! The cache: formats, faults, garbage collection, intents.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use cni_types::{Attachment, Code};
use libcni::{Entry, Kind, Valid, Verb};
use serde_json::{Value, json};
use stage::{Reply, Script, Stage, good_answer, network};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn attachment(id: &str) -> Attachment {
    Attachment { container_id: id.to_owned(), ifname: "eth0".to_owned() }
}

/// Puts a record into the cache as the reference library leaves it.
fn reference_record(stage: &Stage, net: &libcni::NetworkList, id: &str) {
    use base64::Engine;
    let config = base64::engine::general_purpose::STANDARD.encode(net.bytes());
    let record = json!({
        "kind": "cniCacheV1", "containerId": id, "config": config, "ifName": "eth0",
        "networkName": net.name.as_str(), "netns": "/var/run/netns/x",
        "result": {"cniVersion": "1.1.0", "ips": [{"address": "10.9.9.9/24"}], "dns": {}},
    });
    fs::create_dir_all(stage.dir.join("cache/results")).expect("results");
    let name = format!("{}-{id}-eth0", net.name);
    fs::write(stage.record_file(&name), record.to_string()).expect("record");
}

#[tokio::test]
async fn a_record_has_the_references_form_and_modes() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    let net = network("net", "1.1.0", &["a"]);
    let mut pod = stage.pod("p");
    pod.args = vec![("A".into(), "b".into())];
    pod.capability_args.insert("ips".to_owned(), json!(["10.0.0.1"]));
    cni.add(&net, &pod).await.expect("add");
    let file = stage.record_file("net-p-eth0");
    let mode =
        |path: &std::path::Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().expect("dir")), 0o700);
    let doc: Value = serde_json::from_slice(&fs::read(&file).expect("file")).expect("json");
    assert_eq!(doc["kind"], "cniCacheV1");
    assert_eq!(doc["containerId"], "p");
    assert_eq!(doc["ifName"], "eth0");
    assert_eq!(doc["networkName"], "net");
    assert_eq!(doc["netns"], pod.netns);
    assert_eq!(doc["cniArgs"], json!([["A", "b"]]));
    assert_eq!(doc["capabilityArgs"], json!({"ips": ["10.0.0.1"]}));
    assert_eq!(doc["result"]["interfaces"][0]["name"], "a");
    assert!(doc["config"].is_string());
    let known = ["capabilityArgs", "cniArgs", "config", "containerId", "ifName", "kind"];
    let mut keys: Vec<_> = doc.as_object().expect("object").keys().map(String::as_str).collect();
    keys.retain(|k| !known.contains(k));
    assert_eq!(keys, ["netns", "networkName", "podloom", "result"]);
}

#[tokio::test]
async fn what_the_reference_attached_is_checked_and_detached() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    let net = network("net", "1.1.0", &["a"]);
    reference_record(&stage, &net, "p");
    cni.check(&net, &stage.pod("p")).await.expect("check");
    cni.del(&net, &stage.pod("p")).await.expect("del");
    let seen = script.seen();
    assert_eq!(seen[1].conf["prevResult"]["ips"][0]["address"], "10.9.9.9/24");
    assert_eq!(stage.files("cache"), Vec::<String>::new());

    let legacy =
        json!({"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.9.9.8/24"}]});
    fs::write(stage.record_file("net-p-eth0"), legacy.to_string()).expect("legacy");
    script.calls();
    cni.check(&net, &stage.pod("p")).await.expect("check legacy");
    let prev = &script.seen()[0].conf["prevResult"];
    assert_eq!(prev["cniVersion"], "1.1.0");
    assert_eq!(prev["ips"][0]["address"], "10.9.9.8/24");
    cni.del(&net, &stage.pod("p")).await.expect("del legacy");
    assert_eq!(stage.files("cache"), Vec::<String>::new());
}

#[tokio::test]
async fn a_corrupt_record_fails_check_but_not_del() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    let net = network("net", "1.1.0", &["a"]);
    let error = cni.check(&net, &stage.pod("p")).await.expect_err("no record");
    assert_eq!((error.kind(), error.code()), (Kind::Cache, Code::UnknownContainer));
    fs::create_dir_all(stage.dir.join("cache/results")).expect("results");
    fs::write(stage.record_file("net-p-eth0"), "").expect("empty");
    let error = cni.check(&net, &stage.pod("p")).await.expect_err("corrupt");
    assert!(error.to_string().contains("net-p-eth0: is not a record: the file is empty"));
    let listing = cni.listing().await.expect("listing");
    assert!(matches!(listing.entries[0], Entry::Corrupt { .. }));
    let done = cni.del(&net, &stage.pod("p")).await.expect("del");
    assert_eq!(done.warnings.len(), 1);
    assert_eq!(script.calls(), ["DEL a"]);
    assert_eq!(stage.files("cache"), Vec::<String>::new());
}

#[tokio::test]
async fn names_that_make_the_same_file_do_not_mix() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    let (one, two) = (network("a", "1.1.0", &["x"]), network("a-b", "1.1.0", &["x"]));
    cni.add(&one, &stage.pod("b-c")).await.expect("add");
    let error = cni.add(&two, &stage.pod("c")).await.expect_err("same file");
    assert_eq!((error.kind(), error.code()), (Kind::Cache, Code::Conflict));
    cni.del(&two, &stage.pod("c")).await.expect("del of the other");
    assert_eq!(stage.files("cache"), ["a-b-c-eth0"]);
    let long = network(&"n".repeat(200), "1.1.0", &["x"]);
    let error = cni.add(&long, &stage.pod(&"p".repeat(100))).await.expect_err("too long");
    assert_eq!(error.kind(), Kind::Request);
}

#[tokio::test]
async fn gc_detaches_what_is_not_valid_and_asks_every_plugin() {
    let stage = Stage::new();
    let script = Script::new(|seen| match (seen.verb, seen.env.get("CNI_CONTAINERID")) {
        (Verb::Del, Some(id)) if id == "stuck" => Reply::Fail(5, "stuck"),
        (Verb::Gc, _) if seen.plugin == "a" => Reply::Fail(5, "gc failed"),
        _ => good_answer(seen),
    });
    let cni = stage.cni(&script);
    let (net, other) = (network("net", "1.1.0", &["a", "b"]), network("other", "1.1.0", &["a"]));
    for id in ["keep", "gone", "stuck"] {
        cni.add(&net, &stage.pod(id)).await.expect("add");
    }
    cni.add(&other, &stage.pod("gone")).await.expect("add");
    reference_record(&stage, &net, "theirs");
    fs::write(stage.record_file("net-torn-eth0"), "{\"kind\":").expect("torn");
    let torn_tmp = stage.dir.join("cache/podloom/tmp/1.0");
    fs::write(&torn_tmp, "half").expect("tmp");
    script.calls();
    let preview = cni.gc_preview(&net, &Valid::These(&[attachment("keep")])).await;
    assert_eq!(preview.expect("preview").removed.len(), 4);
    assert_eq!(script.calls(), Vec::<String>::new());

    let error = cni.gc(&net, &Valid::These(&[attachment("keep")])).await.expect_err("two failed");
    assert_eq!(error.subject(), "network \"net\": plugin \"b\" DEL");
    assert_eq!(error.also().len(), 1);
    assert_eq!(error.also()[0].subject(), "network \"net\": plugin \"a\" GC");
    let seen = script.seen();
    let last = seen.last().expect("GC");
    assert_eq!(last.conf["cni.dev/valid-attachments"], json!([attachment("keep")]));
    assert_eq!(
        script.calls(),
        [
            "DEL b", "DEL a", // gone
            "DEL b", // stuck
            "DEL b", "DEL a", // theirs
            "DEL b", "DEL a", // torn
            "GC a", "GC b",
        ]
    );
    assert_eq!(stage.files("cache"), ["net-keep-eth0", "net-stuck-eth0", "other-gone-eth0"]);
    assert!(!torn_tmp.exists());
    let keep = |r: &libcni::Record| r.container_id == "stuck";
    let done = cni.gc(&other, &Valid::Where(&keep)).await.expect_err("a fails GC");
    assert!(done.also().is_empty());
    assert_eq!(stage.files("cache"), ["net-keep-eth0", "net-stuck-eth0"]);
}

#[tokio::test]
async fn an_intent_that_outlived_its_add_ends_with_gc_or_undoes_the_add() {
    for valid in [true, false] {
        let (stage, script) = (Stage::new(), Script::good());
        let cni = stage.cni(&script);
        let net = network("net", "1.1.0", &["a"]);
        cni.add(&net, &stage.pod("p")).await.expect("add");
        // As if the caller had been killed between the record and the end of the intent.
        let intents = fs::read_dir(stage.dir.join("run/libcni")).expect("state");
        let state = intents.flatten().next().expect("instance").path();
        let record = fs::read(stage.record_file("net-p-eth0")).expect("record");
        fs::write(state.join("intents/net@p@eth0"), record).expect("intent");
        script.calls();
        let list = if valid { vec![attachment("p")] } else { Vec::new() };
        cni.gc(&net, &Valid::These(&list)).await.expect("gc");
        assert_eq!(stage.intents(), Vec::<String>::new());
        let calls: &[&str] = if valid { &["GC a"] } else { &["DEL a", "GC a"] };
        assert_eq!(script.calls(), calls);
    }
}

#[tokio::test]
async fn names_from_outside_are_checked() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    for (net, id) in [("../x", "p"), ("net", "../p"), ("", "p")] {
        let error = cni.del_recorded(net, &attachment(id), None).await.expect_err(id);
        assert_eq!(error.kind(), Kind::Request);
    }
    assert!(cni.record("a/b", &stage.pod("p")).await.is_err());
    assert_eq!(script.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn gc_of_an_older_network_only_detaches() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    let net = network("net", "1.0.0", &["a"]);
    cni.add(&net, &stage.pod("p")).await.expect("add");
    script.calls();
    let done = cni.gc(&net, &Valid::These(&[])).await.expect("gc");
    assert!(!done.plugins_asked);
    assert_eq!(done.removed, [attachment("p")]);
    assert_eq!(script.calls(), ["DEL a"]);
}

#[tokio::test]
async fn an_unreadable_cache_ends_gc_before_it_begins() {
    let (stage, script) = (Stage::new(), Script::good());
    // A file where the directory should be cannot be listed, not even by root.
    fs::write(stage.dir.join("cache/results"), "").expect("file");
    let cni = stage.cni(&script);
    let net = network("net", "1.1.0", &["a"]);
    let error = cni.gc(&net, &Valid::These(&[])).await.expect_err("unreadable");
    assert_eq!(error.kind(), Kind::Cache);
    assert!(error.to_string().contains("cache/results: Not a directory"), "{error}");
    assert_eq!(script.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn a_record_of_an_earlier_boot_is_detached_before_a_new_add() {
    let (stage, script) = (Stage::new(), Script::good());
    let cni = stage.cni(&script);
    let net = network("net", "1.1.0", &["a"]);
    cni.add(&net, &stage.pod("p")).await.expect("add");
    let file = stage.record_file("net-p-eth0");
    let mut doc: Value = serde_json::from_slice(&fs::read(&file).expect("file")).expect("json");
    doc["podloom"]["bootId"] = json!("00000000-0000-0000-0000-000000000000");
    fs::write(&file, doc.to_string()).expect("older boot");
    let Ok(Some(Entry::Record(record))) = cni.record("net", &stage.pod("p")).await else {
        panic!("no record");
    };
    assert!(record.is_of_earlier_boot());
    script.calls();
    cni.add(&net, &stage.pod("p")).await.expect("after the boot");
    assert_eq!(script.calls(), ["DEL a", "ADD a"]);
}
