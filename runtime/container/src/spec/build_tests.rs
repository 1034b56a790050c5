//! Whole configurations.

use super::*;
use crate::Handler;
use cri_api::v1::{ContainerMetadata, ImageSpec, LinuxContainerConfig, LinuxContainerResources};
use serde_json::{Value, json};

fn config() -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: "c".to_owned(), attempt: 1 }),
        image: Some(ImageSpec { image: "sha256:1".to_owned(), ..ImageSpec::default() }),
        args: vec!["x".to_owned()],
        annotations: [
            ("own/allowed".to_owned(), "a".to_owned()),
            ("own".to_owned(), "b".to_owned()),
        ]
        .into_iter()
        .collect(),
        linux: Some(LinuxContainerConfig {
            resources: Some(LinuxContainerResources {
                memory_limit_in_bytes: 4096,
                oom_score_adj: 900,
                ..LinuxContainerResources::default()
            }),
            security_context: Some(LinuxContainerSecurityContext {
                masked_paths: vec!["/proc/keys".to_owned()],
                readonly_paths: vec!["/proc/sys".to_owned()],
                no_new_privs: true,
                ..LinuxContainerSecurityContext::default()
            }),
        }),
        ..ContainerConfig::default()
    }
}

fn built(config: &ContainerConfig) -> Value {
    let settings = Settings::default();
    let handler = Handler {
        annotations: vec!["own/*".to_owned(), "of-pod".to_owned()],
        ..Handler::default()
    };
    let metadata = PodSandboxMetadata {
        name: "p".to_owned(),
        uid: "u".to_owned(),
        namespace: "n".to_owned(),
        attempt: 0,
    };
    let annotations = [("of-pod", "c"), ("secret", "d")];
    let inputs = Inputs {
        settings: &settings,
        handler: &handler,
        config,
        pod: OfPod {
            id: "pod",
            metadata: &metadata,
            annotations: annotations.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            hostname: "host",
            namespaces: Namespaces {
                net: Some("/ns/net".into()),
                pid: Pid::Join("/ns/pid".into()),
                ..Namespaces::default()
            },
            cgroups_path: "/pods/c".to_owned(),
            files: vec![Bind::new(Path::new("/p/hosts"), "/etc/hosts", Access::Read)],
        },
        image: &ContainerDefaults {
            entrypoint: vec!["/entry".to_owned()],
            working_dir: "/w".to_owned(),
            ..ContainerDefaults::default()
        },
        identity: &Identity { uid: 1, gid: 2, groups: vec![2, 3] },
        confined: Confined::default(),
        limits: Limits { unified: true, swap: true, lowest_score: None },
        rootfs: Path::new("/r"),
        binds: &[Bind::new(Path::new("/d"), "/data", Access::Write)],
        devices: &[],
    };
    serde_json::to_value(build(&inputs).expect("a configuration")).expect("JSON")
}

#[test]
fn a_configuration_says_all_that_was_asked() {
    let spec = built(&config());
    assert_eq!(
        spec["process"],
        json!({
            "user": {"uid": 1, "gid": 2, "additionalGids": [2, 3]},
            "args": ["/entry", "x"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=host"],
            "cwd": "/w",
            "capabilities": {},
            "noNewPrivileges": true,
            "oomScoreAdj": 900,
        })
    );
    assert_eq!(
        spec["linux"],
        json!({
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}],
                "memory": {"limit": 4096, "swap": 4096},
            },
            "cgroupsPath": "/pods/c",
            "namespaces": [
                {"type": "network", "path": "/ns/net"},
                {"type": "pid", "path": "/ns/pid"},
                {"type": "mount"},
            ],
            "maskedPaths": ["/proc/keys"],
            "readonlyPaths": ["/proc/sys"],
        })
    );
    assert_eq!(
        spec["annotations"],
        json!({
            "io.kubernetes.cri.container-name": "c",
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.image-name": "sha256:1",
            "io.kubernetes.cri.sandbox-id": "pod",
            "io.kubernetes.cri.sandbox-name": "p",
            "io.kubernetes.cri.sandbox-namespace": "n",
            "io.kubernetes.cri.sandbox-uid": "u",
            "of-pod": "c",
            "own/allowed": "a",
        })
    );
    let last = spec["mounts"].as_array().and_then(|mounts| mounts.last()).expect("mounts");
    let options = ["rbind", "rprivate", "rw"];
    assert_eq!(
        *last,
        json!({"destination": "/data", "type": "bind", "source": "/d", "options": options})
    );
    assert_eq!(spec["root"], json!({"path": "/r"}));
}

#[test]
fn privileged_containers_see_and_write_what_others_do_not() {
    let mut config = config();
    let linux = config.linux.as_mut().expect("linux");
    linux.security_context.as_mut().expect("context").privileged = true;
    let spec = built(&config);
    assert_eq!(spec["linux"]["maskedPaths"], Value::Null);
    assert_eq!(spec["linux"]["readonlyPaths"], Value::Null);
    assert_eq!(spec["linux"]["resources"]["devices"], json!([{"allow": true, "access": "rwm"}]));
    let mounts = spec["mounts"].as_array().expect("mounts");
    let of = |place: &str| mounts.iter().find(|m| m["destination"] == place).expect("a mount");
    for place in ["/sys", "/sys/fs/cgroup"] {
        assert!(
            of(place)["options"].as_array().expect("options").contains(&json!("rw")),
            "{place}"
        );
    }
}
