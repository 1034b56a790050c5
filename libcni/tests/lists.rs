//! Reading configuration: forms, versions, switches, directories, faults with their path.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use cni_types::Version;
use libcni::{Kind, NetworkList, load_dir, load_file, load_network};
use serde_json::json;
use stage::Stage;
use std::fs;

fn read(doc: serde_json::Value) -> libcni::Result<NetworkList> {
    NetworkList::from_bytes(doc.to_string().as_bytes())
}

#[test]
fn the_highest_supported_version_is_chosen() {
    let with = |extra: serde_json::Value| {
        let mut doc = json!({"name": "n", "plugins": [{"type": "a"}]});
        for (key, value) in extra.as_object().expect("object") {
            doc[key] = value.clone();
        }
        read(doc)
    };
    let version = |extra| with(extra).expect("list").version;
    assert_eq!(version(json!({})), Version::V0_1_0);
    assert_eq!(version(json!({"cniVersion": ""})), Version::V0_1_0);
    assert_eq!(version(json!({"cniVersion": "0.3.1"})), Version::V0_3_1);
    let listed = json!({"cniVersion": "0.4.0", "cniVersions": ["0.3.0", "1.0.0", "9.1.0"]});
    assert_eq!(version(listed), Version::V1_0_0);
    let listed = json!({"cniVersion": "1.1.0", "cniVersions": ["0.3.0"]});
    assert_eq!(version(listed), Version::V1_1_0);
    for (bad, part) in [
        (json!({"cniVersion": "2.0.0"}), "cniVersion \"2.0.0\""),
        (json!({"cniVersion": 1}), "cniVersion: is a number, not a string"),
        (json!({"cniVersions": "1.0.0"}), "cniVersions: is a string, not a list"),
        (json!({"cniVersions": ["1.0.0", 4]}), "cniVersions[1]: is a number, not a string"),
        (json!({"cniVersions": ["x"]}), "cniVersions[0]: \"x\" is not a version"),
        (json!({"cniVersions": ["2.0.0"]}), "cniVersions: none of the listed versions"),
    ] {
        let error = with(bad).expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!((error.kind(), error.network_name()), (Kind::Config, "n"));
    }
}

#[test]
fn faults_name_the_path_of_the_key() {
    for (doc, part) in [
        (json!([]), "is a list, not a JSON object"),
        (json!({"plugins": []}), "name: is missing"),
        (json!({"name": 7}), "name: is a number"),
        (json!({"name": "a/b"}), "name: \"a/b\" is not a valid name"),
        (json!({"name": "n", "plugins": []}), "plugins: the list is empty"),
        (json!({"name": "n", "plugins": {}}), "plugins: is an object, not a list"),
        (json!({"name": "n", "plugins": [7]}), "plugins[0]: is a number, not an object"),
        (json!({"name": "n", "plugins": [{"type": "a"}, {}]}), "plugins[1]: type: \"\""),
        (json!({"name": "n", "plugins": [{"type": "../a"}]}), "plugins[0]: type: \"../a\""),
        (json!({"name": "n", "plugins": [{"type": 1}]}), "plugins[0]: type: is a number"),
        (
            json!({"name": "n", "plugins": [{"type": "a", "capabilities": {"ips": "yes"}}]}),
            "plugins[0]: capabilities.ips: is a string, not a boolean",
        ),
        (json!({"name": "n", "disableGC": "maybe"}), "disableGC: \"maybe\" is neither"),
        (json!({"name": "n", "disableCheck": 1}), "disableCheck: is a number, not a boolean"),
        (json!({"name": "n", "loadOnlyInlinedPlugins": true}), "no \"plugins\" key"),
    ] {
        let error = read(doc).expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(error.kind(), Kind::Config);
    }
    let error = NetworkList::from_bytes(b"{\n  \"name\": }").expect_err("syntax");
    assert!(error.to_string().contains("line 2 column"), "{error}");
}

#[test]
fn a_directory_is_read_in_order_and_old_forms_are_raised() {
    let stage = Stage::new();
    let dir = stage.dir.join("net.d");
    let put = |name: &str, doc: serde_json::Value| {
        fs::write(dir.join(name), doc.to_string()).expect("file");
    };
    put("20-b.conflist", json!({"name": "b", "plugins": [{"type": "second"}]}));
    put("10-b.conflist", json!({"name": "b", "plugins": [{"type": "first"}]}));
    put("00-old.conf", json!({"name": "old", "cniVersion": "0.2.0", "type": "bridge", "x": 1}));
    put("05-b.json", json!({"name": "b", "type": "never"}));
    put("99-broken.conflist", json!({"name": "broken", "plugins": 1}));
    put("ignored.txt", json!({}));
    fs::create_dir(dir.join("dir.conflist")).expect("directory");
    let files: Vec<_> = load_dir(&dir).expect("dir").into_iter().map(|f| f.path).collect();
    let names: Vec<_> = files.iter().map(|f| f.file_name().expect("name")).collect();
    assert_eq!(
        names,
        ["10-b.conflist", "20-b.conflist", "99-broken.conflist", "00-old.conf", "05-b.json"]
    );
    let b = load_network(&dir, "b").expect("b");
    assert_eq!(b.plugins[0].plugin.as_str(), "first");
    let old = load_network(&dir, "old").expect("old");
    assert_eq!((old.version, old.plugins.len()), (Version::V0_2_0, 1));
    assert_eq!(old.plugins[0].document["x"], 1);
    let again = NetworkList::from_bytes(old.bytes()).expect("raised");
    assert_eq!(again.name.as_str(), "old");
    let broken = load_network(&dir, "broken").expect_err("broken");
    assert!(broken.to_string().contains("99-broken.conflist: plugins: is a number"), "{broken}");
    let none = load_network(&dir, "none").expect_err("none");
    assert_eq!((none.kind(), none.also().len()), (Kind::NoNetwork, 1));
    let none = load_network(&stage.dir.join("nowhere"), "x").expect_err("no directory");
    assert_eq!(none.kind(), Kind::NoNetwork);
    put("list.conf", json!({"name": "x", "plugins": []}));
    let error = load_file(&dir.join("list.conf")).expect_err("a list");
    assert!(error.to_string().contains("rename the file so that it ends in .conflist"));
}

#[test]
fn plugins_beside_the_list_are_appended_and_cached_with_it() {
    let stage = Stage::new();
    let dir = stage.dir.join("net.d");
    let file = dir.join("net.conflist");
    let put = |doc: serde_json::Value| fs::write(&file, doc.to_string()).expect("file");
    fs::create_dir(dir.join("n")).expect("directory");
    fs::write(dir.join("n/20.conf"), json!({"type": "c"}).to_string()).expect("file");
    fs::write(dir.join("n/10.conf"), json!({"type": "b"}).to_string()).expect("file");
    fs::write(dir.join("n/30.json"), "not read").expect("file");
    let types =
        |list: &NetworkList| list.plugins.iter().map(|p| p.plugin.to_string()).collect::<Vec<_>>();
    put(json!({"name": "n", "plugins": [{"type": "a"}]}));
    let list = load_file(&file).expect("list");
    assert_eq!(types(&list), ["a", "b", "c"]);
    let cached = NetworkList::from_bytes(list.bytes()).expect("cached");
    assert_eq!(types(&cached), ["a", "b", "c"]);
    assert!(cached.load_only_inlined_plugins);
    put(json!({"name": "n"}));
    assert_eq!(types(&load_file(&file).expect("list")), ["b", "c"]);
    put(json!({"name": "n", "loadOnlyInlinedPlugins": "true", "plugins": [{"type": "a"}]}));
    let list = load_file(&file).expect("list");
    assert_eq!(types(&list), ["a"]);
    fs::write(dir.join("n/10.conf"), json!({"type": 5}).to_string()).expect("file");
    put(json!({"name": "n", "plugins": [{"type": "a"}]}));
    let error = load_file(&file).expect_err("broken plugin");
    assert!(error.to_string().contains("n/10.conf: plugin: type: is a number"), "{error}");
    put(json!({"name": "empty"}));
    let error = load_file(&file).expect_err("no plugins");
    assert!(error.to_string().contains("plugins: the network has none"), "{error}");
}
