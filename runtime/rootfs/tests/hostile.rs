//! Configurations that must be refused before anything is made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "fails the test")]

mod container;

use container::{Who, bare};
use rootfs::{ErrorKind, Plan, Situation};
use serde_json::{Value, json};

fn plan(mounts: Value, linux: Value) -> Result<Plan, rootfs::Error> {
    let spec = serde_json::from_value(bare(Who::Root, mounts, linux)).unwrap();
    let situation = Situation { bundle: "/nowhere/at/all".into(), ..Situation::default() };
    Plan::new(&spec, &situation)
}

#[test]
fn what_cannot_be_planned_is_named() {
    let long = "x".repeat(5000);
    let bind = |place: &str| json!({"destination": place, "source": "/a", "options": ["bind"]});
    let many = |one: Value| json!(vec![one; 5000]);
    let tmp = |option: &str| json!([{"destination": "/a", "type": "tmpfs", "options": [option]}]);
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let device = |path: &str, kind: &str, major: i64, minor: i64| {
        json!({"path": path, "type": kind,
        "major": major, "minor": minor})
    };
    let cases = [
        (many(bind("/a")), json!({}), "mounts: has 5000 entries"),
        (json!([bind("/a\0b")]), json!({}), "zero byte"),
        (json!([bind(&format!("/{long}"))]), json!({}), "a path of 5000 bytes"),
        (json!([bind("/")]), json!({}), "the root itself"),
        (json!([bind("/a/../..")]), json!({}), "the root itself"),
        (json!([{"destination": "/a", "options": ["bind"]}]), json!({}), "needs a source"),
        (json!([{"destination": "/a"}]), json!({}), "the type is missing"),
        (tmp(&long), json!({}), "the kernel takes 4095"),
        (tmp("size=1\0"), json!({}), "zero byte"),
        (
            json!([{"destination": "/a", "source": "/b", "options": ["bind"], "uidMappings": map}]),
            json!({}),
            "need each other",
        ),
        (
            json!([{"destination": "/a", "type": "tmpfs", "uidMappings": map, "gidMappings": map}]),
            json!({}),
            "only a bind",
        ),
        (json!([]), json!({"rootfsPropagation": "rudely"}), "no kind of propagation"),
        (json!([]), json!({"maskedPaths": ["relative"]}), "not absolute"),
        (json!([]), json!({"readonlyPaths": ["/a/.."]}), "the root itself"),
        (json!([]), json!({"maskedPaths": many(json!("/a"))}), "linux.maskedPaths: has 5000"),
        (json!([]), json!({"devices": [device("/dev/a", "c", 1 << 40, 1)]}), "device number"),
        (json!([]), json!({"devices": [device("/dev/a", "c", -1, 1)]}), "device number -1"),
        (json!([]), json!({"devices": [device("/dev/a", "a", 1, 1)]}), "no kind of device"),
        (json!([]), json!({"devices": [device("dev/a", "c", 1, 1)]}), "not absolute"),
        (
            json!([]),
            json!({"devices": [device("/dev/a", "c", 1, 3), device("/dev/../dev/a", "c", 1, 5)]}),
            "an earlier device has this path",
        ),
        (json!([bind("/a")]), json!({"namespaces": [{"type": "user"}]}), "mount namespace"),
        (
            json!([]),
            json!({"namespaces": [{"type": "user"}], "maskedPaths": ["/a"]}),
            "mount namespace",
        ),
    ];
    for (mounts, linux, cause) in cases {
        let error = plan(mounts, linux).err().unwrap_or_else(|| panic!("was planned: {cause}"));
        assert!(error.to_string().contains(cause), "want {cause:?}: {error}");
        assert!(matches!(error.kind, ErrorKind::Invalid | ErrorKind::Refused), "{error}");
    }
}

#[test]
fn relative_destinations_are_put_right_with_a_warning() {
    let mounts =
        json!([{"destination": "a/b", "type": "tmpfs"}, {"destination": "/c", "type": "tmpfs"}]);
    let plan = plan(mounts, json!({})).unwrap();
    assert_eq!(plan.warnings().len(), 1);
    assert!(plan.warnings()[0].contains("mounts[0]: a/b"), "{:?}", plan.warnings());
}

#[test]
fn a_thousand_mounts_on_each_other_and_cycles_end() {
    let bundle = container::Bundle::new("thousand");
    let one = json!({"destination": "/tmp", "source": "rootfs", "options": ["rbind"]});
    // Each contains all before it; the kernel's limit ends this, not the machine.
    let config = bare(Who::Root, json!(vec![one; 40]), json!({}));
    let answer = container::Run::new(&bundle, Who::Root, config).inside(|| "mounted".into());
    if let Err(text) = answer {
        assert!(text.contains("mounts[") && text.contains("fs.mount-max"), "{text}");
    }
    let one = json!({"destination": "/tmp", "type": "tmpfs"});
    let config = bare(Who::Root, json!(vec![one; 1000]), json!({}));
    let answer = container::Run::new(&bundle, Who::Root, config).inside(|| "mounted".into());
    assert_eq!(answer.as_deref(), Ok("mounted"));
}
